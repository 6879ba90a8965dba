using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Checks labels one by one and gathers what training needs of them: rows a class, or mean and deviation.</summary>
internal sealed class LabelStatistics(MlTask task, string column, int classCount)
{
    private readonly long[] _classes = new long[task == MlTask.Multiclass ? classCount : 2];
    private long _count;
    private double _mean;
    private double _squares;

    /// <exception cref="InvalidDataException">The label is missing or not finite.</exception>
    public void Add(float label, long row)
    {
        if (!float.IsFinite(label))
            throw new InvalidDataException(Refusal(label, row));
        if (task != MlTask.Regression)
        {
            if (label >= _classes.Length)
                throw new InvalidDataException($"Label column \"{column}\" has the key {label + 1:0} at row {row:N0}, expected at most {_classes.Length}, the number of classes. Map the labels anew, or drop the row.");
            _classes[(int)label]++;
            return;
        }

        var distance = label - _mean;
        _mean += distance / ++_count;
        _squares += distance * (label - _mean);
    }

    /// <exception cref="InvalidDataException">All rows have one class.</exception>
    public void RequireTwoClasses()
    {
        if (task != MlTask.Regression && _classes.Count(c => c > 0) < 2)
            throw new InvalidDataException($"Label column \"{column}\" has the same class in all {_classes.Sum():N0} rows, expected two classes or more. Check how the data was filtered or split.");
    }

    /// <summary>Standardises labels; those of a constant are only centred.</summary>
    public LabelScaling ToScaling()
    {
        var scale = (float)(1 / Math.Sqrt(_squares / _count));
        return new LabelScaling { Mean = (float)_mean, Scale = float.IsFinite(scale) && scale > 0 ? scale : 1 };
    }

    private string Refusal(float label, long row) => task == MlTask.Multiclass
        ? $"Label column \"{column}\" has no key (a missing value) at row {row:N0}, expected one of {classCount} classes. Drop the row, or map missing labels to a class of their own."
        : $"Label column \"{column}\" is {label} at row {row:N0}, expected a finite number. Drop the row or fix the source.";
}
