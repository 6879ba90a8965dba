namespace Microsoft.ML.Distributed;

/// <summary>
/// What rows count in a loss: their weight times their class's. In double, as the ranks compute it too: in single precision,
/// and with denormal numbers as zero, products of small weights would be 0 there and not here.
/// </summary>
internal sealed class RowWeights(TrainingColumns columns, IReadOnlyList<float> classWeights)
{
    // Single precision keeps seven digits: more is a mistake, and rows would vanish on the ranks.
    internal const double WidestRange = 1e20;

    private double _sum;
    private double _least = double.PositiveInfinity;
    private double _most;
    private long _count;

    /// <summary>Whether all rows count alike.</summary>
    private bool AreEqual => columns.Weight is null && classWeights.Count == 0;

    /// <summary>What a row counts. 0: nothing, so that it need not be there.</summary>
    /// <exception cref="InvalidDataException">The weight is negative or infinite.</exception>
    public double Effective(float weight, float label, long row)
    {
        if (!float.IsFinite(weight) || weight < 0)
            throw new InvalidDataException($"Weight column \"{columns.Weight}\" is {weight} at row {row:N0}, expected a finite number of at least 0, or NaN for a row to leave out. Fix the source or drop the row.");
        return classWeights.Count == 0 ? weight : (double)weight * classWeights[(int)label];
    }

    /// <summary>Counts a row in.</summary>
    public void Add(double effective)
    {
        _count++;
        _sum += effective;
        _least = Math.Min(_least, effective);
        _most = Math.Max(_most, effective);
    }

    /// <summary>The power of two that brings the mean to 1, whatever unit the weights are in; 0, none, when rows count alike.</summary>
    public double ToScale() => AreEqual ? 0 : Math.ScaleB(1, -Math.ILogB(_sum / _count));

    /// <exception cref="InvalidDataException">The weights are too far apart for single precision.</exception>
    public void CheckRange(string subject)
    {
        if (_most > _least * WidestRange)
            throw new InvalidDataException($"{subject} has rows that weigh {_least:G3} and {_most:G3}{(classWeights.Count > 0 ? " with the weights of their classes" : "")}, expected weights that differ by at most {WidestRange:G1} times: beside the largest, the smallest count as 0. Leave out what does not count, or narrow the range.");
    }
}
