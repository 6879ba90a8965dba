using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.BitExact;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Parallel;

/// <summary>Chooses among strategies.</summary>
internal static class ParallelStrategy
{
    /// <summary>What a rank's memory has room for.</summary>
    public static int GradientBuffers(JobSpec spec, int worldSize) => spec.BitExact is { } exact ? SumTree.BuffersOf(exact.MicroBatches, worldSize) : 1;

    /// <exception cref="FormatException">The job asks for what its ranks cannot do together.</exception>
    public static void Check(RankStart start, bool sharesMemory)
    {
        if (!sharesMemory && start.Spec.BitExact is { } exact)
        {
            throw new FormatException($"Job \"{start.Spec.Name}\" has Reproducibility.BitExact ({exact.MicroBatches} micro-batches) with ranks that share no memory, expected ranks of one host: " +
                "sums are made host by host, in another order on other hosts. Use Reproducibility.UpToRounding, or ranks of one host.");
        }
    }

    /// <summary>The memory of ranks that share a host.</summary>
    /// <param name="start">This rank, and the file.</param>
    /// <param name="rank">Its number there.</param>
    /// <param name="worldSize">How many share it.</param>
    /// <param name="length">Of the parameters.</param>
    public static SegmentOptions Segment(RankStart start, int rank, int worldSize, long length) => new()
    {
        Path = start.SegmentPath,
        Rank = rank,
        WorldSize = worldSize,
        Length = length,
        GradientBuffers = GradientBuffers(start.Spec, worldSize),
        StateBuffers = FlatOptimizer.StateNames(start.Spec.Optimizer).Count,
        RunId = start.AttemptId,
    };
}
