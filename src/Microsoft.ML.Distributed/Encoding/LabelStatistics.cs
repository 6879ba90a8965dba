using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Checks labels one by one and gathers what training needs of them: rows a class, or mean and deviation.</summary>
internal sealed class LabelStatistics(MlTask task, string column, int classCount)
{
    private readonly double[] _classes = new double[task == MlTask.Multiclass ? classCount : 2];
    private long _count;
    private double _mean;
    private double _squares;

    // Of tagging they are not in the label column.
    private bool HasClasses => task is MlTask.Multiclass or MlTask.Binary;

    /// <exception cref="InvalidDataException">The label is infinite, a key that is none of the classes, or no degree of relevance.</exception>
    public void Check(float label, long row)
    {
        if (!float.IsFinite(label))
            throw new InvalidDataException($"Label column \"{column}\" is {label} at row {row:N0}, expected a finite number, or NaN for a missing one. Drop the row or fix the source.");
        if (task == MlTask.Ranking && !RankingLabel.IsRelevance(label))
            throw new InvalidDataException($"Label column \"{column}\" is {label} at row {row:N0}, expected a degree of relevance, a whole number from 0 to {RankingLabel.MaxRelevance}, or NaN for a missing one. Map the labels to a few degrees, 0 for what is not relevant, or drop the row.");
        if (HasClasses && label >= _classes.Length)
            throw new InvalidDataException($"Label column \"{column}\" has the key {label + 1:0} at row {row:N0}, expected at most {_classes.Length}, the number of classes. Map the labels anew, or drop the row.");
    }

    /// <summary>Counts a label in that was checked.</summary>
    /// <param name="label">The label.</param>
    /// <param name="weight">What its row counts, above 0.</param>
    public void Add(float label, double weight)
    {
        _count++;
        if (HasClasses)
        {
            _classes[(int)label] += weight;
            return;
        }

        var distance = label - _mean;
        _mean += distance / _count;
        _squares += distance * (label - _mean);
    }

    /// <exception cref="InvalidDataException">All rows have one class.</exception>
    public void RequireTwoClasses()
    {
        if (HasClasses && _classes.Count(c => c > 0) < 2)
            throw new InvalidDataException($"Label column \"{column}\" has the same class in all {_count:N0} rows that count, expected two classes or more. Check how the data was filtered, split or weighted.");
    }

    /// <summary>Standardises labels; those of a constant are only centred.</summary>
    /// <exception cref="InvalidDataException">They vary by so little, or so much, that single precision cannot tell.</exception>
    public LabelScaling ToScaling()
    {
        var deviation = Math.Sqrt(_squares / _count);
        if (deviation > 0 && !ScaleRange.Holds(deviation))
            throw new InvalidDataException($"Label column \"{column}\" has a standard deviation of {deviation:G3}, expected 0 or from {ScaleRange.Least:G1} to {ScaleRange.Most:G1}, which single precision can compute with. Multiply the labels by a constant.");
        return new LabelScaling { Mean = (float)_mean, Scale = deviation > 0 ? (float)(1 / deviation) : 1 };
    }

    /// <summary>
    /// What a network puts out that knows the classes' shares alone: their logarithms, less their mean; of two classes the
    /// logarithm of the odds. A start there spares a rare class the thousands of steps that Adam takes to it.
    /// </summary>
    /// <remarks>Each class counts half a row more than it has, so that one without rows has a logarithm too.</remarks>
    public IReadOnlyList<float> ToOutputBias()
    {
        var total = _classes.Sum();
        var logs = Array.ConvertAll(_classes, c => Math.Log((c / total * _count) + 0.5));
        if (task == MlTask.Binary)
            return [(float)(logs[1] - logs[0])];
        var mean = logs.Average();
        return Array.ConvertAll(logs, l => (float)(l - mean));
    }

    /// <summary>Whether all labels are the same number.</summary>
    public bool IsConstant => task == MlTask.Regression && _squares == 0;

    /// <summary>The mean label.</summary>
    public double Mean => _mean;
}
