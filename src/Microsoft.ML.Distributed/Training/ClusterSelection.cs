using System.Runtime.CompilerServices;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Finds the cluster of a trainer: its options, then ml.UseCluster, then the environment, then this machine.</summary>
internal static class ClusterSelection
{
    private static readonly ConditionalWeakTable<IHostEnvironment, ITrainingBackend> s_chosen = [];
    private static readonly Lock s_gate = new();
    private static (string Named, TrainingCluster Cluster)? s_fromEnvironment;

    public static void Use(IHostEnvironment environment, ITrainingBackend backend) => s_chosen.AddOrUpdate(environment, backend);

    public static ITrainingBackend Resolve(IHostEnvironment environment, TrainingCluster? requested)
    {
        if (requested is not null)
            return requested;
        if (s_chosen.TryGetValue(environment, out var chosen))
            return chosen;
        return FromEnvironment() ?? TrainingCluster.Automatic;
    }

    // One connection for all fits of the process, as long as the variables stay the same.
    private static TrainingCluster? FromEnvironment()
    {
        var named = string.Join('\n', ClusterVariables.All.Select(ClusterVariables.Read));
        lock (s_gate)
        {
            if (s_fromEnvironment is { } known && known.Named == named)
                return known.Cluster;
            if (TrainingCluster.FromEnvironment() is not { } cluster)
                return null;
            s_fromEnvironment = (named, cluster);
            return cluster;
        }
    }
}
