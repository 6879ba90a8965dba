using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.BitExact;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Parallel;

/// <summary>Chooses among strategies.</summary>
internal static class ParallelStrategy
{
    /// <summary>What a rank's memory has room for.</summary>
    public static int GradientBuffers(JobSpec spec, Topology topology) => spec.BitExact is { } exact ? BitExactUpdate.BuffersOf(exact.MicroBatches, topology) : 1;

    /// <exception cref="FormatException">The job asks for what its ranks cannot do together.</exception>
    public static void CheckTransport(JobSpec spec)
    {
        if (spec.BitExact is { } exact)
            throw new FormatException($"Job \"{spec.Name}\" has Reproducibility.BitExact ({exact.MicroBatches} micro-batches) with ranks that share no memory, expected ranks of hosts. Use Reproducibility.UpToRounding.");
    }

    /// <summary>The memory of ranks that share a host.</summary>
    /// <param name="start">This rank, and the file.</param>
    /// <param name="rank">Its number there.</param>
    /// <param name="worldSize">How many share it.</param>
    /// <param name="topology">Where all ranks are.</param>
    /// <param name="length">Of the parameters.</param>
    public static SegmentOptions Segment(RankStart start, int rank, int worldSize, Topology topology, long length) => new()
    {
        Path = start.SegmentPath,
        Rank = rank,
        WorldSize = worldSize,
        Length = length,
        GradientBuffers = GradientBuffers(start.Spec, topology),
        StateBuffers = FlatOptimizer.StateNames(start.Spec.Optimizer).Count,
        RunId = start.AttemptId,
    };
}
