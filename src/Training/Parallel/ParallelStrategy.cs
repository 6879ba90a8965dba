using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.BitExact;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Parallel;

/// <summary>Chooses among strategies.</summary>
internal static class ParallelStrategy
{
    /// <summary>What a rank's memory has room for.</summary>
    public static int GradientBuffers(JobSpec spec, Topology topology) => spec.BitExact is { } exact ? BitExactUpdate.BuffersOf(exact.MicroBatches, topology) : 1;

    /// <summary>Whether everything of a rank is to be on its device.</summary>
    public static bool IsForDevices(RankStart start) => start is { Device: DeviceKind.Cuda, Spec.BitExact: null };

    /// <summary>What to tell of the ranks of several GPUs; null: nothing.</summary>
    /// <param name="start">The rank.</param>
    /// <param name="link">What joins the devices; null: gradients do not stay on them.</param>
    /// <param name="missing">Why there is none.</param>
    public static string? Remark(RankStart start, DeviceLink? link, string missing) => start is not { Device: DeviceKind.Cuda, Rank: 0, WorldSize: > 1 } ? null
        : link is not null ? $"The gradients of {start.WorldSize} GPUs{(start.Participants.Count > 0 ? $" on {start.Participants.Count} hosts" : "")} are summed by NCCL {link.Nccl.Version}, and stay on them."
        : $"The gradients of {start.WorldSize} GPUs are summed, and the parameters updated, in the host's memory, which the bus between bounds: NCCL is not used ({missing}). One GPU keeps all to itself: MaxRanks 1 may be as fast for a small model.";

    /// <exception cref="FormatException">The job asks for what its ranks cannot do together.</exception>
    public static void CheckTransport(JobSpec spec)
    {
        if (spec.BitExact is { } exact)
            throw new FormatException($"Job \"{spec.Name}\" has Reproducibility.BitExact ({exact.MicroBatches} micro-batches) with ranks that share no memory, expected ranks of hosts. Use Reproducibility.UpToRounding.");
        if (spec.Module?.Mlp?.Sparse is not null)
            throw new FormatException($"Job \"{spec.Name}\" has sparse features and ranks that share no memory, expected ranks of one host: there they tell one another which weights a step changes. Use FeatureEncoding.Dense, or ranks of one host.");
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
        MarkCount = start.Spec.Module?.Mlp?.Sparse is null ? 0 : start.Spec.Module.Mlp.InputSize,
        StateBuffers = FlatOptimizer.StateNames(start.Spec.Optimizer).Count,
        RunId = start.AttemptId,
    };
}
