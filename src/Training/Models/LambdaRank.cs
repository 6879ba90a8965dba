using MLDistributed.Protocol;
using MLDistributed.Training.Metrics;
using MLDistributed.Training.Native;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// LambdaRank (Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82): of each pair of a group's rows, of
/// which one is more relevant, the logistic loss of their scores' difference, weighed by what the normalised discounted cumulative gain
/// would change by if the two changed places. These weights count as constants.
/// </summary>
internal static class LambdaRank
{
    private static readonly double[] s_gains = [.. Enumerable.Range(0, RankingLabel.MaxRelevance + 1).Select(relevance => Math.ScaleB(1, relevance) - 1)];

    /// <summary>The sum of the groups' losses.</summary>
    /// <param name="truncation">Of a pair one row at least is among so many with the highest scores; 0: all pairs.</param>
    /// <param name="outputs">rows: scores.</param>
    /// <param name="labels">rows: as <see cref="RankingLabel"/> has them; whole groups.</param>
    public static unsafe Tensor Sum(int truncation, Tensor outputs, Tensor labels)
    {
        // An order is no tensor's to compute: on a GPU it waits for its scores here.
        using var scores = outputs.detach().cpu().contiguous();
        using var relevances = labels.cpu();
        var slopes = zeros(scores.shape[0], ScalarType.Float32);
        var count = (int)scores.shape[0];
        var loss = Sum(truncation, new ReadOnlySpan<float>(TorchMemory.Data(scores), count), new ReadOnlySpan<float>(TorchMemory.Data(relevances), count), new Span<float>(TorchMemory.Data(slopes), count));
        // Its gradient is the slopes; its value, of which the first part is 0 or no number, is the loss.
        var product = outputs.mul(slopes.to(outputs.device)).sum();
        return product.sub(product.detach()).add(loss);
    }

    /// <summary>The sum of the groups' losses, and its derivatives by the scores.</summary>
    /// <param name="truncation">Of a pair one row at least is among so many with the highest scores; 0: all pairs.</param>
    /// <param name="scores">Of all rows.</param>
    /// <param name="labels">As <see cref="RankingLabel"/> has them; whole groups.</param>
    /// <param name="slopes">Zeros, to which the derivatives are added.</param>
    public static double Sum(int truncation, ReadOnlySpan<float> scores, ReadOnlySpan<float> labels, Span<float> slopes)
    {
        var sum = 0.0;
        for (int start = 0, end; start < labels.Length; start = end)
        {
            end = RankingLabel.EndOfGroup(labels, start);
            sum += OfGroup(truncation, scores[start..end], labels[start..end], slopes[start..end]);
        }

        return sum;
    }

    private static double OfGroup(int truncation, ReadOnlySpan<float> scores, ReadOnlySpan<float> labels, Span<float> slopes)
    {
        var level = truncation == 0 ? scores.Length : Math.Min(truncation, scores.Length);
        var best = ScoreOrder.Best(labels, level, s_gains);
        if (best == 0)
            return 0;
        var rows = new int[scores.Length];
        ScoreOrder.Of(scores, labels, rows);
        var discounts = ScoreOrder.Discounts;
        var sum = 0.0;
        for (var i = 0; i < level; i++)
        {
            var gain = s_gains[RankingLabel.Relevance(labels[rows[i]])];
            for (var j = i + 1; j < rows.Length; j++)
            {
                var more = gain - s_gains[RankingLabel.Relevance(labels[rows[j]])];
                if (more == 0)
                    continue;
                var (higher, lower) = more > 0 ? (rows[i], rows[j]) : (rows[j], rows[i]);
                var weight = Math.Abs(more) * (discounts[i] - discounts[j]) / best;
                var difference = scores[higher] - scores[lower];
                var odds = MathF.Exp(-Math.Abs(difference));
                sum += weight * (Math.Max(-difference, 0) + float.LogP1(odds));
                var slope = (float)(weight * (difference > 0 ? odds : 1) / (1 + odds));
                slopes[higher] -= slope;
                slopes[lower] += slope;
            }
        }

        return sum;
    }
}
