using MLDistributed.Protocol;

namespace MLDistributed.Training.Data;

/// <summary>Rows that name their non-zero features alone: memory that is filled again and again.</summary>
internal sealed class SparseRows(int maxRows)
{
    private readonly int[] _ends = new int[maxRows + 1];
    private int[] _slots = new int[1024];
    private float[] _values = new float[1024];

    public int Count { get; private set; }

    /// <summary>The slots of a row, rising.</summary>
    public ReadOnlySpan<int> Slots(int row) => _slots.AsSpan(_ends[row].._ends[row + 1]);

    /// <summary>The values of a row's slots.</summary>
    public ReadOnlySpan<float> Values(int row) => _values.AsSpan(_ends[row].._ends[row + 1]);

    public void Clear() => Count = 0;

    /// <summary>Adds a row.</summary>
    /// <param name="slots">Rising, of all that there are.</param>
    /// <param name="values">Theirs.</param>
    /// <param name="featureSize">How many slots there are.</param>
    /// <param name="scale">What each feature is multiplied by; empty: nothing.</param>
    /// <exception cref="FormatException">These are no slots: weights are found by them, so they are not believed even of a file that was checked.</exception>
    public void Add(ReadOnlySpan<int> slots, ReadOnlySpan<float> values, int featureSize, ReadOnlySpan<float> scale)
    {
        if (!SparseFeatures.AreSlots(slots, featureSize))
            throw new FormatException($"Dataset has a row of sparse features that are not slots from 0 to {featureSize - 1} in rising order. Encode the data again with this version.");
        var start = _ends[Count];
        var end = checked(start + slots.Length);
        if (end > _slots.Length)
        {
            Array.Resize(ref _slots, Math.Max(end, 2 * _slots.Length));
            Array.Resize(ref _values, _slots.Length);
        }

        slots.CopyTo(_slots.AsSpan(start));
        for (var i = 0; i < slots.Length; i++)
            _values[start + i] = scale.IsEmpty ? values[i] : values[i] * scale[slots[i]];
        _ends[++Count] = end;
    }
}
