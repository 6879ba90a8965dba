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
    private static string _apiKey = "";
    private static string _fingerprint = "";

    [ClassInitialize]
    public static async Task Start(TestContext _)
    {
        _folder = Directory.CreateTempSubdirectory("mltest-").FullName;
        _coordinator = Mldist("coordinator", "--data", Path.Combine(_folder, "data"), "--urls", "https://127.0.0.1:0");
        _address = new Uri(Last(await _coordinator.Line(@"https://127\.0\.0\.1:[1-9]\d*", Limit), "https://"));
        _apiKey = Value(await _coordinator.Line("(?i)api key.*: ", Limit));
        var token = Value(await _coordinator.Line("(?i)join token.*: ", Limit));
        _fingerprint = Value(await _coordinator.Line("(?i)fingerprint.*: ", Limit));
        _worker = Mldist("worker", "--coordinator", _address.ToString(), "--token", token, "--fingerprint", _fingerprint, "--work", Path.Combine(_folder, "worker"), "--slots", "2");
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
        using var cluster = Connect(_apiKey);
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);
        var messages = new List<string>();
        ml.Log += (_, e) => messages.Add(e.Message);

        var model = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(epochs: 15).Fit(split.TrainSet);

        Assert.IsGreaterThanOrEqualTo(0.95, ml.MulticlassClassification.Evaluate(model.Transform(split.TestSet)).MicroAccuracy);
        Assert.IsTrue(messages.Any(m => m.Contains("2 ranks", StringComparison.Ordinal)), string.Join('\n', messages));
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

    private static TrainingCluster Connect(string key) =>
        TrainingCluster.Connect(_address, new TrainingClusterOptions { ApiKey = key, CertificateFingerprint = _fingerprint });

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

    private static string Last(string line, string word) => line[line.IndexOf(word, StringComparison.Ordinal)..].Split(' ', '"', ',')[0].TrimEnd('.');

    private static string Value(string line) => line[(line.LastIndexOf(": ", StringComparison.Ordinal) + 2)..].Trim();

    private sealed class Row
    {
        public float Label { get; set; }

        [VectorType(2)]
        public float[] Features { get; set; } = [];
    }
}
