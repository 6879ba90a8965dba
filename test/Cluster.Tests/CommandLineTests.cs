using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;
using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>mldist as a process, beside a cluster on which one job trained.</summary>
[TestClass]
public sealed class CommandLineTests
{
    // What a client may send: control characters are refused before they come here.
    private const string JobName = "night\u202Elived run";
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private static RealCluster _cluster = null!;
    private static JobSnapshot _job = null!;
    private static string _folder = "";

    public TestContext TestContext { get; set; } = null!;

    [ClassInitialize]
    public static async Task Start(TestContext _)
    {
        _folder = Directory.CreateTempSubdirectory("mltest-").FullName;
        _cluster = await RealCluster.StartAsync(workers: 1);
        using var cluster = _cluster.Connect();
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options { JobName = JobName, Epochs = 3, ValidationFraction = 0.2 })
            .Fit(DataSets.Digits(ml));
        _job = await _cluster.EndOfJobAsync();
    }

    [ClassCleanup]
    public static async Task Stop()
    {
        await _cluster.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [TestMethod]
    [DataRow("jobs")]
    [DataRow("jobs show JOB")]
    [DataRow("jobs logs JOB")]
    [DataRow("datasets")]
    [DataRow("workers")]
    public async Task Mldist_WithJson_PrintsOneDocumentAndNothingElse(string line)
    {
        var (code, output, error) = await RunAsync($"{line} --json");

        Assert.AreEqual((0, ""), (code, error));
        using var document = JsonDocument.Parse(output);
        Assert.IsTrue(document.RootElement.ValueKind is JsonValueKind.Array or JsonValueKind.Object);
    }

    [TestMethod]
    public async Task Jobs_WithJson_HaveWhatScriptsNeed()
    {
        using var jobs = JsonDocument.Parse((await RunAsync("jobs --json")).Output);
        using var datasets = JsonDocument.Parse((await RunAsync("datasets --json")).Output);
        using var whole = JsonDocument.Parse((await RunAsync($"jobs show {_job.Id} --json")).Output);

        var (job, dataset) = (jobs.RootElement[0], datasets.RootElement[0]);
        Assert.AreEqual((_job.Id, JobName, "succeeded"), (job.GetProperty("id").GetString(), job.GetProperty("name").GetString(), job.GetProperty("state").GetString()));
        Assert.AreEqual(dataset.GetProperty("id").GetString(), job.GetProperty("data").GetProperty("datasetId").GetString());
        Assert.AreEqual(1797, dataset.GetProperty("rowCount").GetInt64());
        Assert.IsGreaterThan(1797 * 64 * sizeof(float), dataset.GetProperty("sizeBytes").GetInt64());
        CollectionAssert.AreEqual(new[] { 1, 2, 3 }, whole.RootElement.GetProperty("result").GetProperty("history").EnumerateArray().Select(e => e.GetProperty("epoch").GetInt32()).ToArray());
    }

    [TestMethod]
    [DataRow("jobs")]
    [DataRow("jobs show JOB")]
    [DataRow("jobs logs JOB")]
    [DataRow("jobs logs JOB --follow")]
    [DataRow("watch JOB")]
    [DataRow("jobs watch JOB")]
    [DataRow("datasets")]
    public async Task Mldist_TextFromElsewhere_ObeysNothing(string line)
    {
        var (code, output, error) = await RunAsync(line);

        Assert.AreEqual((0, ""), (code, error));
        Assert.IsTrue(output.All(c => c is '\n' or (>= ' ' and not ('\u007f' or '\u202E'))), output);
        if (line is "jobs" or "jobs show JOB")
            StringAssert.Contains(output, @"night\u202Elived run");
        if (line.Contains("logs", StringComparison.Ordinal))
        {
            StringAssert.Contains(output, "epoch 1: loss ");
            StringAssert.Contains(output, "succeeded: ");
        }
    }

    [TestMethod]
    [DataRow(1)]
    [DataRow(3)]
    [DataRow(31)]
    public async Task Job_ByAnyUniqueBeginning_IsFoundEverywhere(int digits)
    {
        var start = _job.Id[..digits].ToUpperInvariant();

        foreach (var command in (string[])["watch", "cancel", "jobs show", "jobs logs", "jobs watch", "jobs cancel"])
        {
            var (code, output, error) = await RunAsync($"{command} {start}");
            Assert.AreEqual((0, ""), (code, error), command);
            StringAssert.Contains(output, "succeeded");
        }
    }

    [TestMethod]
    [DataRow("watch zz", 4, "Job \"zz\" is unknown, expected an id, or its first digits, that \"mldist jobs\" shows.")]
    [DataRow("jobs show 00000000000000000000000000000000", 4, "Job \"00000000000000000000000000000000\" is unknown")]
    [DataRow("jobs logs %", 4, "Job \"%\" is unknown")]
    [DataRow("jobs download zz", 4, "Job \"zz\" is unknown")]
    [DataRow("cancel zz", 4, "Job \"zz\" is unknown")]
    [DataRow("jobs --coordinator unix:///nowhere/c", 3, "Socket \"/nowhere/c\" does not exist")]
    [DataRow("datasets --api-key wrong", 3, "does not accept the key")]
    public async Task Mldist_WhatIsNotThere_IsToldInALineWithItsExitCode(string line, int expectedCode, string expected)
    {
        var (code, output, error) = await RunAsync(line);

        Assert.AreEqual((expectedCode, ""), (code, output), error);
        StringAssert.Contains(error, expected);
        Assert.HasCount(1, error.Split('\n'));
    }

    [TestMethod]
    public async Task Download_OfAJob_HasItsFilesWholeAndOverwritesNothing()
    {
        var folder = Path.Combine(_folder, "out put");

        var first = await RunAsync("jobs", "download", _job.Id[..6], "-o", folder, "--json");

        Assert.AreEqual((0, ""), (first.Code, first.Error));
        using var saved = JsonDocument.Parse(first.Output);
        var files = saved.RootElement.GetProperty("files").EnumerateArray().ToList();
        CollectionAssert.AreEqual(new[] { "metrics.json", ArtifactName.Onnx, ArtifactName.Weights }, files.Select(f => f.GetProperty("name").GetString()).ToArray());
        foreach (var file in files)
        {
            var content = await File.ReadAllBytesAsync(Path.Combine(folder, file.GetProperty("name").GetString()!), TestContext.CancellationToken);
            Assert.AreEqual(file.GetProperty("sha256").GetString(), Convert.ToHexStringLower(SHA256.HashData(content)));
        }

        var again = await RunAsync("jobs", "download", _job.Id, "-o", folder);
        Assert.AreEqual(1, again.Code);
        StringAssert.Contains(again.Error, "is there already, expected a folder without it. Name another with -o, or overwrite it with --force.");
        Assert.AreEqual(0, (await RunAsync("jobs", "download", _job.Id, "-o", folder, "--force")).Code);
        Assert.HasCount(3, Directory.GetFileSystemEntries(folder));
    }

    [TestMethod]
    public async Task Keys_ByTheirFirstDigits_AreRevoked()
    {
        Assert.AreEqual(0, (await RunAsync("keys", "create", "--name", "leaver", "--data", _cluster.DataFolder)).Code);
        var id = await IdOfAsync();

        // As many digits as the other key does not begin with too.
        var (code, _, error) = await RunAsync("keys", "revoke", id[..8], "--data", _cluster.DataFolder);

        Assert.AreEqual((0, ""), (code, error));
        Assert.AreEqual(4, (await RunAsync("keys", "revoke", id[..8], "--data", _cluster.DataFolder)).Code, "It is revoked already.");
        Assert.AreEqual(4, (await RunAsync("workers", "revoke", "zz", "--data", _cluster.DataFolder)).Code);

        async Task<string> IdOfAsync()
        {
            using var keys = JsonDocument.Parse((await RunAsync("keys", "list", "--json", "--data", _cluster.DataFolder)).Output);
            return keys.RootElement.EnumerateArray().Single(k => k.GetProperty("name").GetString() == "leaver").GetProperty("id").GetString()!;
        }
    }

    [TestMethod]
    [DataRow("", true)]
    [DataRow("1", false)]
    public async Task Jobs_OnATerminal_FitItsWidthInColourUnlessToldNot(string noColor, bool isColored)
    {
        var mldist = RunningProgram.PathOf("MLDistributed.Cli", "mldist");
        var start = new System.Diagnostics.ProcessStartInfo("/usr/bin/script", ["-qec", $"stty cols 80; exec '{mldist}' jobs", "/dev/null"]) { RedirectStandardOutput = true, RedirectStandardInput = true };
        (start.Environment["MLDIST_COORDINATOR"], start.Environment["MLDIST_API_KEY"]) = (_cluster.Address.ToString(), _cluster.ApiKey);
        (start.Environment["TERM"], start.Environment["NO_COLOR"]) = ("xterm", noColor);

        using var script = System.Diagnostics.Process.Start(start)!;
        var output = await script.StandardOutput.ReadToEndAsync(TestContext.CancellationToken).WaitAsync(Limit, TestContext.CancellationToken);

        var row = output.Split('\n').Single(l => l.Contains(_job.Id[..12], StringComparison.Ordinal)).TrimEnd('\r');
        Assert.AreEqual(isColored, row.Contains("\e[32msucceeded\e[39m", StringComparison.Ordinal), row);
        var plain = row.Replace("\e[32m", "", StringComparison.Ordinal).Replace("\e[39m", "", StringComparison.Ordinal);
        Assert.DoesNotContain("\e", plain);
        StringAssert.EndsWith(plain, "…");
        Assert.IsLessThan(80, plain.Length, plain);
    }

    [TestMethod]
    public async Task Version_IsOneLineThatBeginsWithTheRelease()
    {
        var (code, output, error) = await RunAsync("--version");

        Assert.AreEqual((0, ""), (code, error));
        StringAssert.Matches(output, new(@"^\d+\.\d+\.\d+[^\s]*$", default, TimeSpan.FromSeconds(1)));
    }

    [TestMethod]
    public async Task Completion_InBash_CompletesTheWord()
    {
        var mldist = RunningProgram.PathOf("MLDistributed.Cli", "mldist");
        var script = $"eval \"$('{mldist}' completion bash)\"; COMP_LINE='mldist jobs do'; COMP_POINT=14; COMP_WORDS=('{mldist}' jobs do); COMP_CWORD=2; _mldist; echo \"${{COMPREPLY[*]}}\"";

        using var bash = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("/bin/bash", ["--norc", "-c", script]) { RedirectStandardOutput = true })!;
        var output = await bash.StandardOutput.ReadToEndAsync(TestContext.CancellationToken).WaitAsync(Limit, TestContext.CancellationToken);

        Assert.AreEqual("download", output.Trim());
    }

    private static Task<(int Code, string Output, string Error)> RunAsync(string line) => RunAsync(line.Replace("JOB", _job.Id[..8], StringComparison.Ordinal).Split(' '));

    private static Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments) => _cluster.RunAsync(arguments);
}
