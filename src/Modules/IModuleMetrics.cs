using static TorchSharp.torch;

namespace Microsoft.ML.Distributed;

/// <summary>A module with metrics of its own, of the training and the validation rows of each epoch, beside those of the task.</summary>
/// <example><code>
/// public IReadOnlyDictionary&lt;string, Tensor&gt; Metrics(Tensor outputs, Tensor labels, Tensor weights) => new Dictionary&lt;string, Tensor&gt;
/// {
///     ["Top3Accuracy"] = outputs.topk(3, dim: 1).indices.eq(labels.unsqueeze(1)).any(1),
/// };
/// </code></example>
public interface IModuleMetrics
{
    /// <summary>The metrics of some rows. An epoch's are the means over all of its rows by their weights.</summary>
    /// <param name="outputs">What forward has put out, [rows, outputs].</param>
    /// <param name="labels">As of <see cref="IModuleLoss.Loss"/>.</param>
    /// <param name="weights">As of <see cref="IModuleLoss.Loss"/>.</param>
    /// <returns>
    /// By name, the same names in each call, at most 24, each of 1 to 64 letters, digits and any of " _-.@/": of each row, in the shape of
    /// the labels, numbers or truths; or one number, the rows' mean by weights.
    /// </returns>
    IReadOnlyDictionary<string, Tensor> Metrics(Tensor outputs, Tensor labels, Tensor weights);
}

/// <summary>A module whose outputs are columns, with metrics of its own, of the training and the validation rows of each epoch.</summary>
/// <typeparam name="TOutputs">The record of tensors that forward returns.</typeparam>
/// <typeparam name="TLabels">As of <see cref="IModuleLoss{TOutputs, TLabels}"/>.</typeparam>
public interface IModuleMetrics<in TOutputs, in TLabels>
{
    /// <summary>The metrics of some rows. An epoch's are the means over all of its rows by their weights.</summary>
    /// <param name="outputs">What forward has put out.</param>
    /// <param name="labels">The rows' labels.</param>
    /// <param name="weights">As of <see cref="IModuleLoss{TOutputs, TLabels}.Loss"/>.</param>
    /// <returns>As <see cref="IModuleMetrics.Metrics"/>: by name, of each row, [rows, 1] or [rows], or one number, their mean by weights.</returns>
    IReadOnlyDictionary<string, Tensor> Metrics(TOutputs outputs, TLabels labels, Tensor weights);
}
