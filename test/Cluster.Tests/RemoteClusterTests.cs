using System.Collections.Concurrent;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

/// <summary>A coordinator over TLS with keys, and a worker that joined it with a token, all on loopback.</summary>
[TestClass]
public sealed class RemoteClusterTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private static string _folder = "";
    private static RunningProgram? _coordinator;
    private static RunningProgram? _worker;
    private static Uri _address = null!;
    private static Dictionary<string, string> _environment = [];

    [ClassInitialize]
    public static async Task Start(TestContext _)
    {
        _folder = Directory.CreateTempSubdirectory("mltest-").FullName;
        _coordinator = Mldist("coordinator", "--data", Path.Combine(_folder, "data"), "--urls", "https://127.0.0.1:0");
        // As a user would: the lines that the first start prints are copied, and work.
        var worker = (await _coordinator.Line("^ +mldist worker ", Limit)).Trim().Split(' ');
        _environment = _coordinator.Output.Split('\n').Select(l => l.Trim()).Where(l => l.StartsWith("export ", StringComparison.Ordinal))
            .Select(l => l["export ".Length..].Split('=', 2)).ToDictionary(p => p[0], p => p[1]);
        _address = new Uri(_environment["MLDIST_COORDINATOR"]);
        _worker = RunningProgram.Start("MLDistributed.Cli", _folder, "mldist", _environment, [.. worker[1..], "--work", Path.Combine(_folder, "worker"), "--slots", "2"]);
        await _worker.Line("Connected to", Limit);
    }

    [ClassCleanup]
    public static async Task Stop()
    {
        foreach (var program in new[] { _worker, _coordinator }.OfType<RunningProgram>())
        {
            program.Signal("TERM");
            await program.Exit(Limit);
            program.Dispose();
        }

        Directory.Delete(_folder, recursive: true);
    }

    [TestMethod]
    public void Fit_OnAClusterOverTls_UploadsTrainsAndReturnsTheModel()
    {
        using var cluster = Connect(_environment["MLDIST_API_KEY"]);
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);
        var messages = new ConcurrentQueue<string>();
        ml.Log += (_, e) => messages.Enqueue(e.Message);

        var model = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(epochs: 15).Fit(split.TrainSet);

        Assert.IsGreaterThanOrEqualTo(0.95, ml.MulticlassClassification.Evaluate(model.Transform(split.TestSet)).MicroAccuracy);
        Assert.IsTrue(messages.Any(m => m.Contains("2 ranks", StringComparison.Ordinal)), string.Join('\n', messages));
        // And from there on: the model goes there and back too.
        var next = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options { StartFrom = model, Epochs = 1, LearningRate = 1e-4 }).Fit(split.TrainSet);
        Assert.IsLessThan(model.Model.Summary.History[3].TrainingLoss, next.Model.Summary.TrainingLoss);
    }

    [TestMethod]
    public void Fit_WithAWrongKey_SaysSoBeforeReadingData()
    {
        using var cluster = Connect("wrong");

        var error = Assert.ThrowsExactly<ClusterException>(() => FitUnread(cluster));

        StringAssert.Contains(error.Message, "key");
    }

    [TestMethod]
    public void Fit_WithoutACoordinator_NamesTheAddress()
    {
        using var cluster = TrainingCluster.Connect(new Uri("http://127.0.0.1:1"), "key");

        var error = Assert.ThrowsExactly<ClusterException>(() => FitUnread(cluster));

        StringAssert.Contains(error.Message, "127.0.0.1:1");
    }

    [TestMethod]
    public async Task App_WithTheEnvironmentOfTheFirstStart_TrainsThere()
    {
        using var sample = RunningProgram.Start("Digits", _folder, "Digits", _environment);
        Assert.AreEqual(0, await sample.Exit(Limit), sample.Output);
        StringAssert.Contains(sample.Output, "micro accuracy 0.9");
        Assert.IsEmpty(ProcessTree.Naming("--lifeline").Where(p => p.CommandLine.Contains(_folder, StringComparison.Ordinal)), "It started a local cluster.");

        var (code, jobs) = await RunAsync("jobs");

        Assert.AreEqual(0, code, jobs);
        StringAssert.Contains(jobs, "succeeded");
    }

    [TestMethod]
    public async Task Mldist_WithTheEnvironmentOfTheFirstStart_ShowsTheCluster()
    {
        var (code, workers) = await RunAsync("workers");

        Assert.AreEqual(0, code, workers);
        StringAssert.Contains(workers, "1 worker,");
    }

    [TestMethod]
    [DataRow("MLDIST_FINGERPRINT", null, 3, "is not trusted, expected one that this machine trusts or that has the given fingerprint. Set --fingerprint or MLDIST_FINGERPRINT")]
    [DataRow("MLDIST_FINGERPRINT", "12:34", 2, "Certificate fingerprint is \"12:34\", expected a SHA-256")]
    [DataRow("MLDIST_API_KEY", "wrong", 3, "does not accept the key: ")]
    [DataRow("MLDIST_API_KEY", null, 3, "carries no API key")]
    [DataRow("MLDIST_COORDINATOR", null, 2, "No coordinator is named, expected --coordinator or MLDIST_COORDINATOR")]
    [DataRow("MLDIST_COORDINATOR", "coordinator:7443", 2, "Coordinator is \"coordinator:7443\", expected https://host:port")]
    [DataRow("MLDIST_COORDINATOR", "http://elsewhere:7443", 2, "expected https:// for another machine")]
    [DataRow("MLDIST_COORDINATOR", "https://127.0.0.1:1", 3, "does not answer: Connection refused.")]
    public async Task Mldist_WithAWrongEnvironment_SaysWhichVariable(string variable, string? value, int expectedCode, string expected)
    {
        var environment = new Dictionary<string, string>(_environment) { [variable] = value ?? "" };

        using var program = RunningProgram.Start("MLDistributed.Cli", _folder, "mldist", environment, "jobs");

        Assert.AreEqual(expectedCode, await program.Exit(Limit), program.Output);
        StringAssert.Contains(program.Output, expected);
        Assert.HasCount(1, program.Output.Split('\n'), program.Output);
    }

    private static async Task<(int Code, string Output)> RunAsync(params string[] arguments)
    {
        using var program = RunningProgram.Start("MLDistributed.Cli", _folder, "mldist", _environment, arguments);
        return (await program.Exit(Limit), program.Output);
    }

    private static TrainingCluster Connect(string key) =>
        TrainingCluster.Connect(_address, new TrainingClusterOptions { ApiKey = key, CertificateFingerprint = _environment["MLDIST_FINGERPRINT"] });

    private static void FitUnread(TrainingCluster cluster)
    {
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        var rows = ml.Data.LoadFromEnumerable(Unread(), SchemaDefinition.Create(typeof(Row)));
        ml.Regression.Trainers.DistributedNeuralNetwork().Fit(rows);
    }

    private static IEnumerable<Row> Unread()
    {
        Assert.Fail("Data was read though the cluster cannot be used.");
        yield break;
    }

    private static RunningProgram Mldist(params string[] arguments) => RunningProgram.Start("MLDistributed.Cli", _folder, "mldist", arguments);

    private sealed class Row
    {
        public float Label { get; set; }

        [VectorType(2)]
        public float[] Features { get; set; } = [];
    }
}
