using static TorchSharp.torch;

namespace MLDistributed.Training.Metrics;

/// <summary>Micro and macro accuracy, of what each class weighs and what of it was predicted.</summary>
internal sealed class MulticlassSums(int classes) : MetricSums
{
    public override int Count => 2 * classes;

    public override void Add(Tensor outputs, Tensor labels, Tensor? weights, Span<double> sums)
    {
        var logits = Elements<float>(outputs);
        var actual = Elements<long>(labels);
        var weight = Weights(weights);
        for (var row = 0; row < actual.Length; row++)
        {
            var label = (int)actual[row];
            sums[classes + label] += Weight(weight, row);
            if (IndexOfMax(logits.Slice(row * classes, classes)) == label)
                sums[label] += Weight(weight, row);
        }
    }

    protected override double[] Compute(ReadOnlySpan<double> sums)
    {
        var (correct, total, shares, present) = (0.0, 0.0, 0.0, 0);
        for (var label = 0; label < classes; label++)
        {
            if (sums[classes + label] == 0)
                continue;
            correct += sums[label];
            total += sums[classes + label];
            shares += sums[label] / sums[classes + label];
            present++;
        }

        return [correct / total, shares / present];
    }
}
