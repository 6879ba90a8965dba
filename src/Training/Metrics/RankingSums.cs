using MLDistributed.Protocol;
using static TorchSharp.torch;

namespace MLDistributed.Training.Metrics;

/// <summary>
/// Normalised discounted cumulative gains as ML.NET's evaluator of rankings has them: means over groups, of which one without a relevant
/// row counts as 0, with gains of 0, 3, 7, 15, 31, ...
/// </summary>
internal sealed class RankingSums : MetricSums
{
    private static readonly double[] s_gains = [0, .. Enumerable.Range(1, RankingLabel.MaxRelevance).Select(relevance => Math.ScaleB(2, relevance) - 1)];

    public override int Count => MetricNames.RankingLevels.Count + 1;

    public override void Add(Tensor outputs, Tensor labels, Tensor? weights, Span<double> sums)
    {
        var scores = Elements<float>(outputs);
        var actual = Elements<float>(labels);
        for (int start = 0, end; start < actual.Length; start = end)
        {
            end = RankingLabel.EndOfGroup(actual, start);
            AddGroup(scores[start..end], actual[start..end], sums);
        }
    }

    protected override double[] Compute(ReadOnlySpan<double> sums)
    {
        var groups = sums[^1];
        return Array.ConvertAll(sums[..^1].ToArray(), sum => sum / groups);
    }

    private static void AddGroup(ReadOnlySpan<float> scores, ReadOnlySpan<float> labels, Span<double> sums)
    {
        sums[^1]++;
        var rows = new int[scores.Length];
        ScoreOrder.Of(scores, labels, rows);
        var (place, gain) = (0, 0.0);
        for (var i = 0; i < MetricNames.RankingLevels.Count; i++)
        {
            for (; place < Math.Min(MetricNames.RankingLevels[i], rows.Length); place++)
                gain += s_gains[RankingLabel.Relevance(labels[rows[place]])] * ScoreOrder.Discounts[place];
            if (ScoreOrder.Best(labels, MetricNames.RankingLevels[i], s_gains) is var best and > 0)
                sums[i] += gain / best;
        }
    }
}
