using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;
using MLDistributed.Training.Parallel;

namespace MLDistributed.Training.Loop;

/// <summary>What a job's parameters take of a host's memory: activations and batches, which are small beside them, come on top.</summary>
/// <param name="ParameterCount">Floats of the module.</param>
/// <param name="SharedBytes">Parameters once, gradients once a rank.</param>
/// <param name="StateBytes">The optimizer's state, shared too.</param>
/// <param name="CopyBytes">The weights that the first rank keeps or writes, their ONNX form, and what a checkpoint takes; or those of the model to start from, as a file, parsed, and as numbers. With them what each rank holds that is not trained.</param>
/// <param name="WorldSize">Ranks.</param>
internal sealed record MemoryNeeds(long ParameterCount, long SharedBytes, long StateBytes, long CopyBytes, int WorldSize)
{
    private const double GiB = 1 << 30;

    public long TotalBytes => checked(SharedBytes + StateBytes + CopyBytes);

    /// <summary>The needs of a job on a number of ranks.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="layout">Of its parameters.</param>
    /// <param name="worldSize">Those of this host.</param>
    /// <param name="topology">Where all ranks are; null: here.</param>
    /// <param name="frozenBytes">What each rank holds that is not trained.</param>
    /// <param name="isOnDevice">Whether gradients are on a device, and not here.</param>
    public static MemoryNeeds Of(JobSpec spec, FlatLayout layout, int worldSize, Topology? topology = null, long frozenBytes = 0, bool isOnDevice = false)
    {
        checked
        {
            var bytes = layout.ParameterLength * sizeof(float);
            var states = FlatOptimizer.StateNames(spec.Optimizer).Count;
            return new MemoryNeeds(layout.ParameterLength, bytes * (1 + (isOnDevice ? 0 : (long)worldSize * ParallelStrategy.GradientBuffers(spec, topology ?? Topology.OfCpus(worldSize)))), bytes * states, bytes * Math.Max(2 + (spec.Checkpoint?.IntervalEpochs > 0 ? 1 + states : 0), spec.StartFrom is null ? 0 : 3) + (worldSize * frozenBytes), worldSize);
        }
    }

    /// <exception cref="FormatException">The job does not fit.</exception>
    public void Check(long memoryBytes)
    {
        if (TotalBytes <= memoryBytes)
            return;
        throw new FormatException(
            $"Module with {ParameterCount:N0} parameters takes {TotalBytes / GiB:N1} GiB on {WorldSize} ranks ({SharedBytes / GiB:N1} shared, {StateBytes / GiB:N1} optimizer state, {CopyBytes / GiB:N1} copies), " +
            $"expected at most the {memoryBytes / GiB:N1} GiB of this machine. Make HiddenLayers smaller, or use fewer ranks (MaxRanks).");
    }
}
