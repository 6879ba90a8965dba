using System.Numerics;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The options that follow from the number of rows when the user leaves them open.</summary>
internal static class AutomaticOptions
{
    public const int SmallestBatch = 32;
    private const int LargestBatch = 256;
    private const int StepsPerEpoch = 40;
    private const double ForgettingEpochs = 5;
    private const double SgdWeightDecay = 1e-4;

    /// <summary>Fills in what was left open, once the rows are counted.</summary>
    public static void Complete(JobSpec spec, NeuralNetworkOptions options)
    {
        var rows = (long)Math.Ceiling(spec.Data.RowCount * (1 - spec.Data.ValidationFraction));
        spec.GlobalBatchSize = options.BatchSize ?? BatchSize(rows);
        spec.Optimizer.WeightDecay = options.WeightDecay ?? WeightDecay(spec.Optimizer, rows, spec.GlobalBatchSize);
    }

    /// <summary>Few steps an epoch waste small data, large batches generalise less.</summary>
    internal static int BatchSize(long rows) =>
        (int)Math.Clamp(BitOperations.RoundUpToPowerOf2((ulong)(rows / StepsPerEpoch) + 1) / 2, SmallestBatch, LargestBatch);

    /// <summary>AdamW averages its weights over 1 / (learning rate * weight decay) steps; this holds that to a number of epochs.</summary>
    internal static double WeightDecay(OptimizerSpec optimizer, long rows, int batchSize)
    {
        if (optimizer.Adamw is null)
            return optimizer.Adam is null ? SgdWeightDecay : 0;
        var stepsPerEpoch = Math.Max(1, Math.Ceiling((double)rows / batchSize));
        return 1 / (optimizer.LearningRate * ForgettingEpochs * stepsPerEpoch);
    }
}
