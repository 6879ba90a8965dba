using System.Numerics.Tensors;

namespace Microsoft.ML.Distributed;

/// <summary>
/// How much labels differ that should not: between a row and the one that is nearest to it, in parts of what they differ between any
/// two rows. 0: a row tells its label; 1: it tells nothing. The nearest neighbour's error is between the least that is possible and
/// twice that (Cover and Hart 1967). Of several that are as near all count alike. It depends on the rows alone.
/// </summary>
internal static class LabelNoise
{
    private const int MostProbes = 1024;
    private const int LeastProbes = 256;
    private const long Budget = 1L << 28; // of numbers that are compared: a tenth of a second; rows of a thousand take four times as long

    // Fewer that differ by chance, as of rare positives, tell nothing.
    private const double LeastDifferences = 50;

    // Where one number makes more of the variance, whether it is a neighbour decides all.
    private const double MostOfVariance = 0.02;

    /// <summary>Finds it.</summary>
    /// <param name="sample">Some of the rows.</param>
    /// <param name="features">Where their numbers lie.</param>
    /// <param name="size">Values of a row.</param>
    /// <param name="categories">How many of them, the last ones, are ids of categories.</param>
    /// <param name="hasClasses">Whether labels are classes; else numbers.</param>
    /// <returns>Null: there are too few rows, or labels, to tell.</returns>
    public static double? Of(RowSample sample, IFeatureStatistics features, int size, int categories, bool hasClasses)
    {
        if (sample.Count < LeastProbes)
            return null;
        var labels = sample.Rows.Select(row => row.Label).ToArray();
        var rows = Standardised(sample, features, size - categories);
        var probes = (int)Math.Clamp(Budget / ((long)rows.Length * size), LeastProbes, Math.Min(MostProbes, rows.Length));
        var squares = hasClasses ? [] : Squares(labels);
        var byChance = hasClasses ? 1 - labels.CountBy(label => label).Sum(c => Math.Pow((double)c.Value / labels.Length, 2)) : 2 * squares.Average();
        if (byChance <= 0 || (hasClasses ? byChance * probes < LeastDifferences : squares.Max() > MostOfVariance * squares.Sum()))
            return null;
        var differences = new double[probes];
        // From all of the sample: rows may be in the order of their labels.
        Parallel.For(0, probes, probe => differences[probe] = ToNearest(rows, labels, (int)((long)probe * rows.Length / probes), size - categories, hasClasses));
        return differences.Average() / byChance;
    }

    private static float[][] Standardised(RowSample sample, IFeatureStatistics features, int numbers)
    {
        var slots = Enumerable.Range(0, numbers).Select(slot => (Mean: features.Mean(slot), Deviation: features.Deviation(slot))).ToArray();
        return [.. sample.Rows.Select(row => row.Values.Select(Standard).ToArray())];

        float Standard(float value, int slot) => slot >= numbers ? value
            : float.IsNaN(value) || slots[slot].Deviation is not > 0 ? 0 : (float)((value - slots[slot].Mean) / slots[slot].Deviation);
    }

    // How far a row's label is from that of the nearest others. A copy of the row, label and all, says nothing where numbers hardly ever repeat.
    private static double ToNearest(float[][] rows, float[] labels, int probe, int numbers, bool hasClasses)
    {
        var (least, sum, count) = (float.PositiveInfinity, 0.0, 0);
        for (var i = 0; i < rows.Length; i++)
        {
            var distance = i == probe ? float.PositiveInfinity : Distance(rows[i], rows[probe], numbers);
            if (!float.IsFinite(distance) || distance > least || (distance == 0 && numbers > 0 && labels[i] == labels[probe]))
                continue;
            if (distance < least)
                (least, sum, count) = (distance, 0, 0);
            sum += hasClasses ? (labels[probe] == labels[i] ? 0 : 1) : Math.Pow((double)labels[probe] - labels[i], 2);
            count++;
        }

        return count == 0 ? 0 : sum / count;
    }

    // Squared; another category is as far as two standardised numbers are on average.
    private static float Distance(float[] left, float[] right, int numbers)
    {
        var distance = numbers == 0 ? 0 : TensorPrimitives.Distance<float>(left.AsSpan(0, numbers), right.AsSpan(0, numbers));
        distance *= distance;
        for (var i = numbers; i < left.Length; i++)
            distance += left[i] == right[i] ? 0 : 2;
        return distance;
    }

    private static double[] Squares(float[] labels)
    {
        var mean = labels.Average(label => (double)label);
        return Array.ConvertAll(labels, label => Math.Pow(label - mean, 2));
    }
}
