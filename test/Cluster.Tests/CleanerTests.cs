using Microsoft.ML;
using Microsoft.ML.Distributed;

namespace Cluster.Tests;

/// <summary>Cleaners of temp folders against an idle local cluster: the next Fit works as if nothing had happened.</summary>
[TestClass]
public sealed class CleanerTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [TestMethod]
    [DataRow("")]
    [DataRow("incoming")]
    [DataRow("c.sock")]
    [DataRow("coordinator")]
    [DataRow("coordinator/coordinator.db")]
    [DataRow("coordinator/datasets")]
    [DataRow("worker")]
    [DataRow(".lock")]
    public async Task Fit_AfterSomethingOfAnIdleClusterWasRemoved_Trains(string removed)
    {
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 1, Device = LocalDevice.Cpu });
        Fit(cluster);
        var path = Path.Combine(cluster.Local!.RunFolder, removed);
        // The cluster may be writing there in this moment, as it may when a cleaner comes.
        Assert.IsTrue(await ProcessTree.Until(() => TryRemove(path), Limit));

        await Task.Run(() => Fit(cluster)).WaitAsync(Limit);

        cluster.Dispose();
        Assert.IsTrue(await ProcessTree.Until(() => !Directory.Exists(cluster.Local.RunFolder), Limit), "and leaves nothing");
    }

    [TestMethod]
    public async Task Fit_OnFreshDataAgainAndAgain_KeepsNoMoreThanTheCache()
    {
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 1, Device = LocalDevice.Cpu, CacheBytes = 0 });
        for (var seed = 0; seed < 3; seed++)
            Fit(cluster, seed);

        Assert.IsTrue(await ProcessTree.Until(() => Directory.GetFiles(cluster.Local!.RunFolder, "*.arrow", SearchOption.AllDirectories).Length == 0, Limit));
    }

    private static bool TryRemove(string path)
    {
        try
        {
            if (File.Exists(path))
                File.Delete(path);
            else if (Directory.Exists(path))
                Directory.Delete(path, recursive: true);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static void Fit(TrainingCluster cluster, int seed = 1)
    {
        var ml = new MLContext(seed);
        var random = new Random(seed);
        var rows = ml.Data.LoadFromEnumerable(Enumerable.Range(0, 200).Select(i => new Row { Label = i % 2 == 0, Features = [random.NextSingle()] }).ToList());
        ml.UseCluster(cluster).BinaryClassification.Trainers.DistributedNeuralNetwork(hiddenLayers: [4], epochs: 1).Fit(rows);
    }

    private sealed class Row
    {
        public bool Label { get; set; }

        [Microsoft.ML.Data.VectorType(1)]
        public float[] Features { get; set; } = [];
    }
}
