using System.CommandLine;
using System.Text.Json;
using MLDistributed.Cli;
using MLDistributed.Cli.Commands;
using MLDistributed.Coordinator;

namespace Cli.Tests;

/// <summary>What people type, and what they are told: one line on standard error and an exit code.</summary>
[TestClass]
public sealed class CommandLineTests
{
    private readonly string _folder = Path.Combine(Path.GetTempPath(), "mldist-test-" + Guid.NewGuid().ToString("N"));

    [TestCleanup]
    public void Clean()
    {
        foreach (var folder in new[] { _folder, _folder + "-copy" }.Where(Directory.Exists))
            Directory.Delete(folder, recursive: true);
    }

    [TestMethod]
    [DataRow("", "Required command was not provided. See \"mldist --help\".")]
    [DataRow("frobnicate", "See \"mldist --help\".")]
    [DataRow("watch", "See \"mldist watch --help\".")]
    [DataRow("keys create --data x", "See \"mldist keys create --help\".")]
    [DataRow("jobs --limit x", "See \"mldist jobs --help\".")]
    [DataRow("jobs --limit 0 --coordinator unix:///nowhere/c", "--limit is 0, expected 1 to 1000.")]
    [DataRow("datasets --limit 5000 --coordinator unix:///nowhere/c", "--limit is 5000, expected 1 to 1000.")]
    [DataRow("jobs show", "See \"mldist jobs show --help\".")]
    [DataRow("jobs 12", "See \"mldist jobs --help\".")]
    [DataRow("completion", "See \"mldist completion --help\".")]
    [DataRow("completion ksh", "See \"mldist completion --help\".")]
    [DataRow("jobs --coordinator nowhere", "Coordinator is \"nowhere\", expected https://host:port")]
    [DataRow("workers --coordinator http://elsewhere:80", "expected https:// for another machine")]
    [DataRow("workers --coordinator https://here --fingerprint 12", "Certificate fingerprint is \"12\", expected a SHA-256")]
    [DataRow("coordinator --data x", "nowhere to listen, expected --socket or --urls")]
    [DataRow("coordinator --data x --urls https://localhost:0 --heartbeat-timeout -1", "--heartbeat-timeout is -1, expected seconds above 0")]
    [DataRow("worker --coordinator nowhere", "Coordinator is \"nowhere\", expected https://host:port")]
    [DataRow("jobs --timeout 0 --coordinator unix:///nowhere/c", "--timeout is 0, expected 0.1 to 86,400 seconds.")]
    [DataRow("jobs show abc --timeout NaN --coordinator unix:///nowhere/c", "--timeout is NaN, expected")]
    [DataRow("tokens create --data x --valid-hours 0", "--valid-hours is 0, expected")]
    public async Task Mldist_WrongUsage_IsToldInASentenceAndExitsWithTwo(string line, string expected)
    {
        var (code, _, error) = await RunAsync(line.Split(' ', StringSplitOptions.RemoveEmptyEntries));

        StringAssert.Contains(error, expected);
        Assert.AreEqual(ExitCode.Usage, code, error);
    }

    [TestMethod]
    [DataRow("--name")]
    [DataRow("--tenant")]
    public async Task KeysCreate_WithoutAName_NamesTheOption(string option)
    {
        var (code, _, error) = await RunAsync(["keys", "create", "--data", _folder, .. option == "--name" ? [] : (string[])["--name", "me"], option, " "]);

        Assert.AreEqual((ExitCode.Usage, $"{option} is \" \", expected a name."), (code, error.Trim()));
    }

    [TestMethod]
    [DataRow("keys list")]
    [DataRow("keys create --name me")]
    [DataRow("keys revoke abc")]
    [DataRow("tokens create")]
    [DataRow("workers revoke abcdefgh")]
    public async Task Administration_OfAMistypedFolder_DoesNotMakeIt(string line)
    {
        var (code, _, error) = await RunAsync([.. line.Split(' '), "--data", _folder]);

        Assert.AreEqual(ExitCode.Failure, code, error);
        StringAssert.Contains(error, $"Data folder \"{_folder}\" has no coordinator's database");
        Assert.IsFalse(Directory.Exists(_folder));
    }

    [TestMethod]
    public async Task Coordinator_FolderThatCannotBeMade_IsNamed()
    {
        await File.WriteAllTextAsync(_folder, "");

        var (code, _, error) = await RunAsync("coordinator", "--data", Path.Combine(_folder, "data"), "--urls", "https://localhost:0");

        File.Delete(_folder);
        Assert.AreEqual(ExitCode.Failure, code, error);
        StringAssert.StartsWith(error, $"Data folder \"{Path.Combine(_folder, "data")}\" cannot be made (");
    }

    [TestMethod]
    public async Task Coordinator_AddressInUse_IsNamedWithoutAStackTrace()
    {
        using var taken = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        taken.Start();
        var url = $"http://{taken.LocalEndpoint}";

        var (code, _, error) = await RunAsync("coordinator", "--data", _folder, "--urls", url);

        Assert.AreEqual(ExitCode.Failure, code, error);
        StringAssert.StartsWith(error, $"The coordinator cannot listen on \"{url}\" (");
        Assert.DoesNotContain("   at ", error);
    }

    [TestMethod]
    [DataRow("mldist jo", "jobs")]
    [DataRow("mldist jobs downl", "download")]
    [DataRow("mldist jobs download x --fo", "--force")]
    [DataRow("mldist watch x --coord", "--coordinator")]
    [DataRow("mldist worker --device cu", "cuda")]
    [DataRow("mldist completion f", "fish")]
    public async Task Suggest_BeginningOfAWord_IsCompleted(string line, string expected)
    {
        var (code, output, error) = await RunAsync($"[suggest:{line.Length}]", line);

        Assert.AreEqual((0, ""), (code, error));
        CollectionAssert.AreEqual(new[] { expected }, output.Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries));
    }

    [TestMethod]
    public async Task Suggest_AnyCommand_DoesNotShowTheRankProcess()
    {
        var (_, output, _) = await RunAsync("[suggest:7]", "mldist ");

        StringAssert.Contains(output, "datasets");
        Assert.DoesNotContain("rank", output);
    }

    [TestMethod]
    [DataRow("bash", "complete -o default -F _mldist mldist")]
    [DataRow("zsh", "compdef _mldist mldist")]
    [DataRow("fish", "complete -c mldist")]
    public async Task Completion_OfAShell_IsItsScript(string shell, string expected)
    {
        var (code, output, _) = await RunAsync("completion", shell);

        Assert.AreEqual(0, code);
        StringAssert.Contains(output, expected);
    }

    [TestMethod]
    public async Task Help_OfMldist_HasTheExitCodes()
    {
        var (_, output, _) = await RunAsync("--help");

        foreach (var (code, meaning) in ExitCode.All)
            StringAssert.Contains(output, $"  {code,-5} {meaning}");
        Assert.DoesNotContain("Exit codes", (await RunAsync("jobs", "--help")).Output);
    }

    [TestMethod]
    [DataRow("--help")]
    [DataRow("coordinator --help")]
    [DataRow("worker --help")]
    [DataRow("jobs --help")]
    [DataRow("jobs show --help")]
    [DataRow("jobs logs --help")]
    [DataRow("jobs download --help")]
    [DataRow("jobs watch --help")]
    [DataRow("jobs cancel --help")]
    [DataRow("datasets --help")]
    [DataRow("completion --help")]
    [DataRow("watch --help")]
    [DataRow("cancel --help")]
    [DataRow("workers --help")]
    [DataRow("libtorch --help")]
    [DataRow("keys create --help")]
    [DataRow("tokens create --help")]
    public async Task Help_OfEveryCommand_IsPrinted(string line)
    {
        var (code, output, error) = await RunAsync(line.Split(' '));

        Assert.AreEqual((0, ""), (code, error));
        StringAssert.Contains(output, "Usage:");
        Assert.DoesNotContain("\n  rank", output, "The rank process is no command for people.");
    }

    [TestMethod]
    public void Json_IsTakenByAllThatEnds()
    {
        // A service's output is its log, and a shell's script is no data.
        var without = Leaves(CommandTree.Create()).Where(c => c is not (ServiceCommand or CompletionCommand) && !c.Options.Any(o => o.Name == "--json"));

        Assert.AreEqual("", string.Join(", ", without.Select(c => c.Name)));

        static IEnumerable<Command> Leaves(Command command) => command.Subcommands.Where(c => !c.Hidden).SelectMany(Leaves).Concat(command is RootCommand || command.Action is null ? [] : [command]);
    }

    [TestMethod]
    public async Task Administration_AsJson_IsOneDocument()
    {
        await RunCoordinatorOnceAsync();

        var key = (await JsonAsync("keys", "create", "--name", "me")).GetProperty("key").GetString();
        var id = (await JsonAsync("keys", "list")).EnumerateArray().Single(k => k.GetProperty("name").GetString() == "me").GetProperty("id").GetString();
        StringAssert.StartsWith(key, "mlk_");
        Assert.AreEqual(id, (await JsonAsync("keys", "revoke", id!)).GetProperty("id").GetString());
        Assert.AreEqual(2, (await JsonAsync("tokens", "create", "--count", "2")).EnumerateArray().Distinct().Count());
        Assert.AreEqual(JsonValueKind.Number, (await JsonAsync("backup", "--to", _folder + "-copy")).GetProperty("files").ValueKind);

        async Task<JsonElement> JsonAsync(params string[] line)
        {
            var (code, output, error) = await RunAsync([.. line, "--data", _folder, "--json"]);
            Assert.AreEqual((0, ""), (code, error));
            using var document = JsonDocument.Parse(output);
            return document.RootElement.Clone();
        }
    }

    private async Task RunCoordinatorOnceAsync()
    {
        Directory.CreateDirectory(_folder);
        var socket = Path.Combine(_folder, "c.sock");
        using var stop = new CancellationTokenSource();
        var coordinator = CoordinatorHost.RunAsync(new CoordinatorOptions { DataFolder = _folder, SocketPath = socket }, stop.Token);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        while (!File.Exists(socket) && !coordinator.IsCompleted)
            await timer.WaitForNextTickAsync(limit.Token);
        await stop.CancelAsync();
        await coordinator.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // it may still have been starting
    }

    private static Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments) => Mldist.RunAsync(arguments);
}
