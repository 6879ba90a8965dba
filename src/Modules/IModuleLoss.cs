using static TorchSharp.torch;

namespace Microsoft.ML.Distributed;

/// <summary>A module with a loss of its own, in training and validation, in the place of the task's.</summary>
/// <example><code>
/// public Tensor Loss(Tensor outputs, Tensor labels, Tensor weights) =>
///     nn.functional.smooth_l1_loss(outputs, labels, reduction: nn.Reduction.None);
/// </code></example>
public interface IModuleLoss
{
    /// <summary>The loss of a part of a batch: as many rows as a rank has, which depends on the number of ranks.</summary>
    /// <param name="outputs">What forward has put out, [rows, outputs].</param>
    /// <param name="labels">Multiclass: classes from 0, [rows] of Int64. Binary: 0 or 1; regression: values, in standard deviations from their mean; [rows, 1] of Float32.</param>
    /// <param name="weights">The rows' weights times those of their classes, in the shape of the labels, Float32; 1 where there are none.</param>
    /// <returns>
    /// Float32, made of the outputs by TorchSharp's operations: the loss of each row in the shape of the labels, without the weights, with
    /// which the job multiplies it; or one number, the rows' mean by weights: <c>(losses * weights).sum() / weights.sum()</c>.
    /// Both make the same model on any number of ranks. A sum, or what depends on which rows come together, is refused.
    /// </returns>
    Tensor Loss(Tensor outputs, Tensor labels, Tensor weights);
}

/// <summary>A module whose outputs are columns, with the loss that it is trained by.</summary>
/// <typeparam name="TOutputs">The record of tensors that forward returns.</typeparam>
/// <typeparam name="TLabels">A record of tensors, each [rows, size]: of the column that is called as it, as it is. A column of Single is Float32; one of keys is Int64, from 1 to their number, and 0 where there is none.</typeparam>
/// <example><code>
/// public Tensor Loss(Shop outputs, Bought labels, Tensor weights) =>
///     nn.functional.mse_loss(outputs.Amount, labels.Amount, nn.Reduction.None)
///     + nn.functional.cross_entropy(outputs.Item, labels.Item.squeeze(1) - 1, reduction: nn.Reduction.None).unsqueeze(1);
/// </code></example>
public interface IModuleLoss<in TOutputs, in TLabels>
{
    /// <summary>The loss of a part of a batch: as many rows as a rank has, which depends on the number of ranks.</summary>
    /// <param name="outputs">What forward has put out.</param>
    /// <param name="labels">The rows' labels.</param>
    /// <param name="weights">The rows' weights, [rows, 1] of Float32; 1 where there are none.</param>
    /// <returns>As <see cref="IModuleLoss.Loss"/>: the loss of each row, [rows, 1] or [rows], or one number, their mean by weights.</returns>
    Tensor Loss(TOutputs outputs, TLabels labels, Tensor weights);
}
