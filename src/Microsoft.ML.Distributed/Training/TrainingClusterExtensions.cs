using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Runtime;

namespace Microsoft.ML;

/// <summary>Chooses where the distributed trainers of an <see cref="MLContext"/> run.</summary>
public static class TrainingClusterExtensions
{
    /// <summary>Runs all distributed trainers of this context on a cluster, unless their options name another.</summary>
    /// <param name="ml">The context.</param>
    /// <param name="cluster">The cluster; it stays the caller's to dispose.</param>
    /// <returns>The context.</returns>
    /// <remarks>Without a call, MLDIST_COORDINATOR, MLDIST_API_KEY and MLDIST_FINGERPRINT decide; without those, a local cluster is started once a process.</remarks>
    /// <example><code>
    /// using var cluster = TrainingCluster.Connect(new Uri("https://coordinator:7443"), apiKey: key);
    /// var ml = new MLContext(seed: 1).UseCluster(cluster);
    /// </code></example>
    public static MLContext UseCluster(this MLContext ml, TrainingCluster cluster)
    {
        ArgumentNullException.ThrowIfNull(cluster);
        return UseCluster(ml, (ITrainingBackend)cluster);
    }

    internal static MLContext UseCluster(this MLContext ml, ITrainingBackend backend)
    {
        ArgumentNullException.ThrowIfNull(ml);
        ArgumentNullException.ThrowIfNull(backend);
        ClusterSelection.Use(((IInternalCatalog)ml.Model).Environment, backend);
        return ml;
    }
}
