using MLDistributed.Protocol;
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
    /// <param name="spec">Task and label smoothing.</param>
    /// <param name="outputs">rows x outputs: logits, or values.</param>
    /// <param name="labels">rows: classes (int64) or values.</param>
    /// <param name="weights">rows; null: all 1.</param>
    public static Tensor Sum(JobSpec spec, Tensor outputs, Tensor labels, Tensor? weights)
    {
        var reduction = weights is null ? Reduction.Sum : Reduction.None;
        var losses = spec.Task switch
        {
            MlTask.Multiclass => functional.cross_entropy(outputs, labels, reduction: reduction, label_smoothing: spec.LabelSmoothing),
            MlTask.Binary => functional.binary_cross_entropy_with_logits(outputs.squeeze(1), labels, reduction: reduction),
            _ => functional.mse_loss(outputs.squeeze(1), labels, reduction),
        };
        return weights is null ? losses : losses.mul(weights).sum();
    }

    /// <summary>A loss as a number.</summary>
    public static unsafe double Number(Tensor loss) => *(float*)TorchMemory.Data(loss.cpu());
}
