using static TorchSharp.torch;

namespace MLDistributed.Training.Metrics;

/// <summary>The metrics of a task that has none: those of a module whose outputs are columns are its own.</summary>
internal sealed class NoSums : MetricSums
{
    public override int Count => 0;

    public override void Add(Tensor outputs, Tensor labels, Tensor? weights, Span<double> sums)
    {
    }

    protected override double[] Compute(ReadOnlySpan<double> sums) => [];
}
