using static TorchSharp.torch;

namespace MLDistributed.Training.Metrics;

/// <summary>Accuracy, area under the ROC curve and F1 score, of a histogram of each class's logits.</summary>
internal sealed class BinarySums : MetricSums
{
    // From -16 to 16, beyond which single precision's probabilities are 0 and 1, in steps of 1/128: rows within one count as ties.
    private const int Bins = 4096;
    private const int BinsAUnit = 128;
    private const int Zero = Bins / 2;

    public override int Count => 2 * Bins;

    public override void Add(Tensor outputs, Tensor labels, Tensor? weights, Span<double> sums)
    {
        var logits = Elements<float>(outputs);
        var actual = Elements<float>(labels);
        var weight = Weights(weights);
        for (var row = 0; row < actual.Length; row++)
        {
            var bin = (int)Math.Clamp(MathF.Floor(logits[row] * BinsAUnit) + Zero, 0, Bins - 1);
            sums[(actual[row] > 0 ? Bins : 0) + bin] += Weight(weight, row);
        }
    }

    protected override double[] Compute(ReadOnlySpan<double> sums)
    {
        var negatives = sums[..Bins];
        var positives = sums[Bins..];
        var (trueNegatives, truePositives) = (Sum(negatives[..Zero]), Sum(positives[Zero..]));
        var (falsePositives, falseNegatives) = (Sum(negatives[Zero..]), Sum(positives[..Zero]));
        var (below, ordered) = (0.0, 0.0);
        for (var bin = 0; bin < Bins; bin++)
        {
            ordered += positives[bin] * (below + negatives[bin] / 2);
            below += negatives[bin];
        }

        var errors = falsePositives + falseNegatives;
        return
        [
            (truePositives + trueNegatives) / (truePositives + trueNegatives + errors),
            ordered / ((truePositives + falseNegatives) * (trueNegatives + falsePositives)),
            2 * truePositives / (2 * truePositives + errors),
        ];
    }

    private static double Sum(ReadOnlySpan<double> values)
    {
        var sum = 0.0;
        foreach (var value in values)
            sum += value;
        return sum;
    }
}
