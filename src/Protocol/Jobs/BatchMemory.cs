namespace MLDistributed.Protocol;

/// <summary>What a step takes of a machine's memory at the least: judged by the client of a local cluster before data is sent, and, with all that a job takes, by each rank before its first step.</summary>
public static class BatchMemory
{
    private const double GiB = 1 << 30;

    // Parameters and gradients, and the weights and the ONNX file that rank 0 leaves at the end.
    private const int LeastCopies = 4;

    /// <summary>Bytes that the built-in network takes at the least, on one rank, without an optimizer's state; 0 for others, which may be frozen or unknown here.</summary>
    /// <param name="spec">The job, which is valid.</param>
    public static long LeastModuleBytes(JobSpec spec) => spec.Module?.Mlp is null ? 0 : JobModel.Bytes(spec).Least * LeastCopies;

    /// <summary>Why the module does not fit, whatever the batch, in one sentence; null when it may.</summary>
    /// <param name="spec">The job, which is valid.</param>
    /// <param name="memoryBytes">What the machine has.</param>
    public static string? ModuleRefusal(JobSpec spec, long memoryBytes) => LeastModuleBytes(spec) is var bytes && bytes <= memoryBytes ? null
        : $"Module takes at least {bytes / GiB:N1} GiB to train, expected at most the {memoryBytes / GiB:N1} GiB of the machine. Make HiddenLayers smaller, or take fewer features.";

    /// <summary>Bytes that the rows which all ranks of a machine compute at once take at the least: features, and in each layer its sums and its activations.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="rows">Rows of its data: a batch is at most all of them.</param>
    /// <param name="worldSize">Ranks, 1 or more.</param>
    /// <param name="isOnGpu">Whether layers are computed elsewhere than in this memory.</param>
    /// <param name="localRanks">Those of this machine; 0: all.</param>
    public static Int128 LeastBytes(JobSpec spec, long rows, int worldSize, bool isOnGpu, int localRanks = 0)
    {
        if (spec.Module?.Kind is not { } module)
            return 0;
        var floats = module.FeaturesOfRow + (isOnGpu ? 0 : module.ActivationsOfRow);
        var all = AtOnce(spec, Math.Min(spec.GlobalBatchSize, rows), worldSize);
        return (localRanks == 0 ? all : all * localRanks / worldSize) * floats * sizeof(float);
    }

    /// <summary>Why a step does not fit, in one sentence; null when it may.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="rows">Rows of its data.</param>
    /// <param name="worldSize">Ranks, 1 or more.</param>
    /// <param name="isOnGpu">Whether layers are computed elsewhere than in this memory.</param>
    /// <param name="otherBytes">What the job takes besides.</param>
    /// <param name="memoryBytes">What the machine has.</param>
    /// <param name="localRanks">Its ranks; 0: all.</param>
    public static string? Refusal(JobSpec spec, long rows, int worldSize, bool isOnGpu, long otherBytes, long memoryBytes, int localRanks = 0)
    {
        var bytes = LeastBytes(spec, rows, worldSize, isOnGpu, localRanks);
        if (bytes + otherBytes <= memoryBytes)
            return null;
        return $"BatchSize is {spec.GlobalBatchSize:N0}: a step's {Math.Min(spec.GlobalBatchSize, rows):N0} rows take at least {(double)bytes / GiB:N1} GiB{(otherBytes < GiB / 20 ? "" : $" beside {otherBytes / GiB:N1} GiB for the module")}, " +
            $"expected at most the {memoryBytes / GiB:N1} GiB of the machine. Make BatchSize smaller{(spec.BitExact is null && spec.Module?.Kind?.JoinsRows != true ? ", or set MaxMicroBatchSize" : "")}.";
    }

    private static Int128 AtOnce(JobSpec spec, long batch, int worldSize)
    {
        var parts = spec.BitExact?.MicroBatches ?? 0;
        return parts > 0 ? (batch + parts - 1) / parts * Math.Min(worldSize, parts)
            : spec.MaxMicroBatchSize > 0 ? Int128.Min(batch, (Int128)spec.MaxMicroBatchSize * worldSize)
            : batch;
    }
}
