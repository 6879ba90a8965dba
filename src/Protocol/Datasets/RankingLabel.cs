namespace MLDistributed.Protocol;

/// <summary>
/// The label of a row of a ranking, as a dataset has it: its degree of relevance, whose sign is negative (of 0 too) in the first row of
/// a group. A group's rows stand one behind the other, so that no column of their own is needed to tell groups apart.
/// </summary>
public static class RankingLabel
{
    /// <summary>The highest degree of relevance: a gain of 2^30 is within what single precision adds up.</summary>
    public const int MaxRelevance = 30;

    /// <summary>The most rows of a group, as LightGBM has it: their pairs are looked at in every step, and they are in one batch.</summary>
    public const int MaxRowsOfGroup = 10_000;

    /// <summary>A row's label.</summary>
    /// <param name="relevance">A whole number from 0 to <see cref="MaxRelevance"/>.</param>
    /// <param name="isFirst">Whether it is the first of its group.</param>
    public static float Of(float relevance, bool isFirst) => isFirst ? -relevance : relevance;

    /// <summary>Whether a group begins with the row.</summary>
    public static bool IsFirst(float label) => float.IsNegative(label);

    /// <summary>Where the group that begins at a row ends: the first row of the next one, or the end.</summary>
    public static int EndOfGroup(ReadOnlySpan<float> labels, int first)
    {
        var end = first + 1;
        while (end < labels.Length && !IsFirst(labels[end]))
            end++;
        return end;
    }

    /// <summary>The row's degree of relevance.</summary>
    public static int Relevance(float label) => (int)Math.Abs(label);

    /// <summary>Whether a number is a degree of relevance.</summary>
    public static bool IsRelevance(float value) => value is >= 0 and <= MaxRelevance && value == MathF.Floor(value);
}
