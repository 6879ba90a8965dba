namespace MLDistributed.Training.Data;

/// <summary>
/// Which rows train, which validate, and in what order: a function of the seed, whatever the number of ranks. One fixed
/// permutation puts the validation rows first; a permutation an epoch orders the rest.
/// </summary>
internal sealed class RowOrder
{
    private const ulong SplitStream = ulong.MaxValue;
    private readonly Permutation _split;
    private readonly ulong _seed;
    private Permutation _epochOrder;
    private int _epoch = -1;

    public RowOrder(ulong seed, long rowCount, double validationFraction)
    {
        _seed = seed;
        _split = new Permutation(seed, SplitStream, rowCount);
        ValidationCount = validationFraction <= 0 || rowCount < 2 ? 0 : Math.Clamp((long)Math.Round(rowCount * validationFraction), 1, rowCount - 1);
        TrainingCount = rowCount - ValidationCount;
    }

    public long TrainingCount { get; }

    /// <summary>Rows of the training set that are held out.</summary>
    public long ValidationCount { get; }

    /// <summary>The row at a position of an epoch.</summary>
    public long TrainingRow(int epoch, long position)
    {
        if (epoch != _epoch)
            (_epoch, _epochOrder) = (epoch, new Permutation(_seed, (ulong)epoch, TrainingCount));
        var row = _epochOrder[position];
        return ValidationCount == 0 ? row : _split[ValidationCount + row];
    }

    /// <summary>The i-th held-out row.</summary>
    public long ValidationRow(long index) => _split[index];
}
