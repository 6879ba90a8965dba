using static TorchSharp.torch;

namespace MLDistributed.Training.Metrics;

/// <summary>R squared, and the mean absolute and root mean squared error in the label's unit.</summary>
/// <param name="scale">What labels were multiplied with.</param>
internal sealed class RegressionSums(float scale) : MetricSums
{
    public override int Count => 5;

    public override void Add(Tensor outputs, Tensor labels, Tensor? weights, Span<double> sums)
    {
        var predicted = Elements<float>(outputs);
        var actual = Elements<float>(labels);
        var weight = Weights(weights);
        for (var row = 0; row < actual.Length; row++)
        {
            var (w, label, error) = (Weight(weight, row), (double)actual[row], (double)predicted[row] - actual[row]);
            sums[0] += w;
            sums[1] += w * label;
            sums[2] += w * label * label;
            sums[3] += w * Math.Abs(error);
            sums[4] += w * error * error;
        }
    }

    protected override double[] Compute(ReadOnlySpan<double> sums)
    {
        var variation = sums[2] - sums[1] * sums[1] / sums[0];
        return [1 - sums[4] / variation, sums[3] / sums[0] / scale, Math.Sqrt(sums[4] / sums[0]) / scale];
    }
}
