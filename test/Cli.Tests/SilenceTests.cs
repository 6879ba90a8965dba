using System.Diagnostics;
using System.Runtime.InteropServices;
using Cli.Tests.Servers;
using MLDistributed.Cli;

namespace Cli.Tests;

/// <summary>A coordinator that is silent is said to be, whatever kind of silence it is; "Interrupted." is for those who interrupt.</summary>
[TestClass]
public sealed partial class SilenceTests
{
    private const int Terminate = 15;
    private const int Continue = 18;
    private const int Stop = 19;
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(60);
    private static readonly string s_job = new('a', 32);

    public static IEnumerable<object[]> Cases =>
        from silence in new[] { "tcp", "tls", "pings", "headers" }
        from command in new[] { "jobs", "workers", "datasets", $"jobs show {s_job}", $"jobs logs {s_job}", $"jobs download {s_job}", $"jobs cancel {s_job}", $"watch {s_job}", $"jobs logs --follow {s_job}", "jobs show abc" }
        select new object[] { silence, command };

    [TestMethod]
    [DynamicData(nameof(Cases))]
    public async Task Mldist_SilentCoordinator_SaysSoInItsTime(string silence, string command)
    {
        await using var headers = silence == "headers" ? await HostileCoordinator.StartAsync(answersWithHeadersOnly: true) : null;
        using var server = new SilentServer(answersPings: silence == "pings");
        var address = headers?.Address ?? $"{(silence == "tls" ? "https" : "http")}://127.0.0.1:{server.Port}";

        var (code, output, error) = await Mldist.RunAsync([.. command.Split(' '), "--timeout", "0.3", "--coordinator", address]);

        Assert.AreEqual((ExitCode.NoAccess, ""), (code, output), error);
        Assert.Contains($"Coordinator \"{new Uri(address)}\" does not answer: It gave no answer in 0.3 s.", error);
    }

    [TestMethod]
    public async Task Mldist_Interrupted_SaysThatAndExitsWith130()
    {
        using var server = new SilentServer(answersPings: true);
        using var mldist = Start("jobs", "--timeout", "600", "--coordinator", $"http://127.0.0.1:{server.Port}");
        await server.Asked.WaitAsync(s_limit);

        Signal(mldist, Terminate); // what is started in the background may have SIGINT ignored

        Assert.AreEqual("Interrupted.", (await EndAsync(mldist)).Error.Trim());
        Assert.AreEqual(ExitCode.Interrupted, mldist.ExitCode);
    }

    [TestMethod]
    public async Task Mldist_StoppedForLongerThanItsTime_HearsTheAnswerBeforeItJudges()
    {
        await using var coordinator = await HostileCoordinator.StartAsync(isHeld: true);
        using var mldist = Start("workers", "--json", "--timeout", "4", "--coordinator", coordinator.Address);
        await coordinator.Asked.WaitAsync(s_limit);

        Signal(mldist, Stop);
        coordinator.Release();
        // The length of the fault itself: longer than the time that it grants.
        await Task.Delay(TimeSpan.FromSeconds(7));
        Signal(mldist, Continue);

        var (_, error) = await EndAsync(mldist);
        Assert.AreEqual((0, ""), (mldist.ExitCode, error));
    }

    private static Process Start(params string[] arguments) => Process.Start(new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "mldist"), arguments)
    {
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    })!;

    private static async Task<(string Output, string Error)> EndAsync(Process process)
    {
        using var limit = new CancellationTokenSource(s_limit);
        var (output, error) = (process.StandardOutput.ReadToEndAsync(limit.Token), process.StandardError.ReadToEndAsync(limit.Token));
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            throw;
        }

        return (await output, await error);
    }

    // At once: a program that sends it starts late on a busy machine, when the time that is measured is over.
    private static void Signal(Process process, int signal) => Assert.AreEqual(0, Kill(process.Id, signal));

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int process, int signal);
}
