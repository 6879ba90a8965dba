using MLDistributed.Protocol;

namespace MLDistributed.Training.Metrics;

/// <summary>The rows of a group from the highest score to the lowest, and what a place among them counts.</summary>
internal static class ScoreOrder
{
    // Of score, label and place; a group has fewer rows than this.
    private const int PlaceBits = 16;
    private const int LabelBits = 5;
    private static readonly double[] s_discounts = [.. Enumerable.Range(0, RankingLabel.MaxRowsOfGroup).Select(i => 1 / Math.Log2(i + 2))];

    /// <summary>What a gain counts at each place, from the first on.</summary>
    public static ReadOnlySpan<double> Discounts => s_discounts;

    /// <summary>Orders rows by falling scores; of equal ones, as ML.NET's evaluator, the less relevant come first.</summary>
    /// <param name="scores">Of a group's rows.</param>
    /// <param name="labels">As <see cref="RankingLabel"/> has them.</param>
    /// <param name="rows">Which row is at each place.</param>
    public static void Of(ReadOnlySpan<float> scores, ReadOnlySpan<float> labels, Span<int> rows)
    {
        // Whole numbers whose order is that of the rows: no comparison has to be called.
        var keys = new ulong[scores.Length];
        for (var row = 0; row < keys.Length; row++)
            keys[row] = (ulong)~Rising(scores[row]) << (LabelBits + PlaceBits) | (ulong)RankingLabel.Relevance(labels[row]) << PlaceBits | (uint)row;
        Array.Sort(keys);
        for (var place = 0; place < keys.Length; place++)
            rows[place] = (int)(keys[place] & ((1 << PlaceBits) - 1));
    }

    /// <summary>The discounted cumulative gain of the best order of a group's first rows.</summary>
    /// <param name="labels">As <see cref="RankingLabel"/> has them.</param>
    /// <param name="level">How many places count.</param>
    /// <param name="gains">That of each degree of relevance.</param>
    public static double Best(ReadOnlySpan<float> labels, int level, ReadOnlySpan<double> gains)
    {
        Span<int> counts = stackalloc int[RankingLabel.MaxRelevance + 1];
        foreach (var label in labels)
            counts[RankingLabel.Relevance(label)]++;
        var (sum, place) = (0.0, 0);
        for (var relevance = RankingLabel.MaxRelevance; relevance > 0; relevance--)
            for (var i = 0; i < counts[relevance] && place < level; i++)
                sum += gains[relevance] * s_discounts[place++];
        return sum;
    }

    // -0 and 0 are the same score.
    private static uint Rising(float score)
    {
        var bits = BitConverter.SingleToUInt32Bits(score + 0f);
        return bits ^ (bits >> 31 != 0 ? uint.MaxValue : 1u << 31);
    }
}
