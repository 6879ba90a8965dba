using Microsoft.ML;
using Microsoft.ML.Distributed;

namespace Cluster.Tests;

/// <summary>One local cluster of four CPU slots for the tests that do no harm to it.</summary>
[TestClass]
public static class SharedCluster
{
    private static readonly Lazy<TrainingCluster> Cluster = new(() => TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 4 }));

    public static MLContext NewContext(int seed = 1)
    {
        var ml = new MLContext(seed);
        ml.UseCluster(Cluster.Value);
        return ml;
    }

    [AssemblyCleanup]
    public static void Stop()
    {
        if (Cluster.IsValueCreated)
            Cluster.Value.Dispose();
    }
}
