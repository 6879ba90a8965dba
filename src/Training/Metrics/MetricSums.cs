using MLDistributed.Protocol;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Metrics;

/// <summary>
/// The metrics of a task (<see cref="MetricNames"/>) as sums over rows, which parts of a batch and ranks add up. Rows count
/// with their weights, as in the loss.
/// </summary>
internal abstract class MetricSums
{
    // In which order ranks' sums are added shows in the last of a double's 16 digits.
    private const int Digits = 9;

    /// <summary>How many sums there are.</summary>
    public abstract int Count { get; }

    public static MetricSums Of(JobSpec spec) => spec.Task switch
    {
        MlTask.Multiclass => new MulticlassSums(spec.Module.Kind!.OutputSize),
        MlTask.Binary => new BinarySums(),
        MlTask.Tagging => new TaggingSums(spec.Module.Text),
        MlTask.Ranking => new RankingSums(),
        MlTask.Own => new NoSums(),
        _ => new RegressionSums(spec.Data.Label?.Scale ?? 1),
    };

    /// <summary>Adds rows.</summary>
    /// <param name="outputs">rows x outputs: logits, or standardised values.</param>
    /// <param name="labels">rows: classes (int64) or values.</param>
    /// <param name="weights">rows; null: all 1.</param>
    /// <param name="sums"><see cref="Count"/> of them.</param>
    public abstract void Add(Tensor outputs, Tensor labels, Tensor? weights, Span<double> sums);

    /// <summary>The metrics in their names' order; NaN where the rows do not define one, as the curve of a single class.</summary>
    public double[] Values(ReadOnlySpan<double> sums) => Array.ConvertAll(Compute(sums), value => Math.Round(value, Digits));

    protected abstract double[] Compute(ReadOnlySpan<double> sums);

    /// <summary>A tensor's elements, for as long as the scope it was made in.</summary>
    protected static unsafe ReadOnlySpan<T> Elements<T>(Tensor tensor)
        where T : unmanaged
    {
        // Usually where it is already: no call that makes a tensor.
        var local = tensor.device_type == DeviceType.CPU ? tensor : tensor.cpu();
        local = local.is_contiguous() ? local : local.contiguous();
        return new ReadOnlySpan<T>(TorchMemory.Data(local), checked((int)local.numel()));
    }

    /// <summary>The class of the largest logit.</summary>
    /// <remarks>TensorPrimitives.IndexOfMax keeps the indices' bits in floats: ranks, for which denormal numbers are zero, got 0 of four classes and more.</remarks>
    protected static int IndexOfMax(ReadOnlySpan<float> logits)
    {
        var best = 0;
        for (var i = 1; i < logits.Length; i++)
            best = logits[i] > logits[best] ? i : best;
        return best;
    }

    protected static ReadOnlySpan<float> Weights(Tensor? weights) => weights is null ? default : Elements<float>(weights);

    protected static double Weight(ReadOnlySpan<float> weights, int row) => weights.IsEmpty ? 1 : weights[row];
}
