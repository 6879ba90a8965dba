using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Native;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace MLDistributed.Training.Models;

/// <summary>
/// The losses as weighted sums over a rank's rows. The sums of all ranks, divided by the weights of all ranks, are the
/// loss of the global batch; so are their gradients.
/// </summary>
internal static class Losses
{
    // Powers below 1 are steep at 0, where a row that is quite right would be: 0 times infinity.
    private const double LeastDoubt = 1e-12;

    /// <summary>Of a batch; rows that are mixtures count for both of their labels.</summary>
    public static Tensor Sum(JobSpec spec, Tensor outputs, Batch batch)
    {
        if (spec.Task == MlTask.Tagging)
            return TaggedTokens.Loss(spec, outputs);
        var sum = Sum(spec, outputs, batch.Labels, batch.Weights);
        return batch.OtherLabels is { } others ? sum.add(Sum(spec, outputs, others, batch.OtherWeights)) : sum;
    }

    /// <param name="spec">Task, loss and label smoothing.</param>
    /// <param name="outputs">rows x outputs: logits, or values.</param>
    /// <param name="labels">rows: classes (int64) or values.</param>
    /// <param name="weights">rows; null: all 1.</param>
    public static Tensor Sum(JobSpec spec, Tensor outputs, Tensor labels, Tensor? weights)
    {
        if (spec.Task == MlTask.Ranking)
            return LambdaRank.Sum(spec.Loss?.LambdaRank?.TruncationLevel ?? 0, outputs.squeeze(1), labels);
        // Sums of libtorch's own where rows count alike, else a loss a row.
        var reduction = weights is null && spec.Loss?.Focal is null ? Reduction.Sum : Reduction.None;
        var losses = spec.Task switch
        {
            MlTask.Multiclass or MlTask.Tagging => functional.cross_entropy(outputs, labels, reduction: reduction, label_smoothing: spec.LabelSmoothing),
            MlTask.Binary => functional.binary_cross_entropy_with_logits(outputs.squeeze(1), labels, reduction: reduction),
            _ => Error(spec.Loss, outputs.squeeze(1), labels, reduction),
        };
        if (spec.Loss?.Focal is { } focal)
            losses = Doubt(losses).pow(focal.Gamma).mul(losses);
        return reduction == Reduction.Sum ? losses : (weights is null ? losses : losses.mul(weights)).sum();
    }

    /// <summary>A loss as a number.</summary>
    public static unsafe double Number(Tensor loss) => *(float*)TorchMemory.Data(loss.cpu());

    private static Tensor Error(LossSpec? loss, Tensor values, Tensor labels, Reduction reduction) => loss switch
    {
        { Huber: { } huber } => functional.huber_loss(values, labels, huber.Delta, reduction),
        { Quantile: { } quantile } => Pinball(labels - values, quantile.Level, reduction),
        _ => functional.mse_loss(values, labels, reduction),
    };

    private static Tensor Pinball(Tensor above, double level, Reduction reduction)
    {
        var losses = maximum(above * level, above * (level - 1));
        return reduction == Reduction.Sum ? losses.sum() : losses;
    }

    // 1 - p of a cross-entropy of -log p: one less an exponential would lose the digits of a p near 1.
    private static Tensor Doubt(Tensor crossEntropy) => crossEntropy.neg().expm1().neg().clamp_min(LeastDoubt);
}
