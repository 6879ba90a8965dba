namespace Microsoft.ML.Distributed;

/// <summary>
/// Some of many rows, each as likely as any other: those whose numbers hash lowest. While more come than are kept, the limit
/// halves, and so which rows are kept depends on their numbers alone.
/// </summary>
/// <param name="size">Values of a row.</param>
/// <param name="most">The most rows that are kept; at least half as many are, once so many have come.</param>
internal sealed class RowSample(int size, int most)
{
    private readonly List<(uint Hash, float[] Values, float Label)> _rows = [];
    private ulong _limit = 1UL << 32;
    private uint _next;

    /// <summary>Rows that are kept.</summary>
    public int Count => _rows.Count;

    /// <summary>The rows that are kept, with their labels.</summary>
    public IEnumerable<(float[] Values, float Label)> Rows => _rows.Select(row => (row.Values, row.Label));

    /// <summary>Adds rows, one after another in memory.</summary>
    /// <param name="rows">Their values.</param>
    /// <param name="labels">Their labels; none: 0.</param>
    public void Add(ReadOnlySpan<float> rows, ReadOnlySpan<float> labels = default)
    {
        for (var start = 0; start < rows.Length; start += size)
        {
            var hash = Mix(_next++);
            if (hash >= _limit)
                continue;
            _rows.Add((hash, rows.Slice(start, size).ToArray(), labels.IsEmpty ? 0 : labels[start / size]));
            while (Count > most)
            {
                _limit /= 2;
                _rows.RemoveAll(row => row.Hash >= _limit);
            }
        }
    }

    /// <summary>A slot's values in rising order, without missing ones.</summary>
    public float[] Sorted(int slot)
    {
        float[] values = [.. _rows.Select(row => row.Values[slot]).Where(value => !float.IsNaN(value))];
        Array.Sort(values);
        return values;
    }

    // MurmurHash3's finaliser (Appleby, public domain): no two numbers of 32 bits have the same.
    private static uint Mix(uint number)
    {
        number = (number ^ (number >> 16)) * 0x85ebca6b;
        number = (number ^ (number >> 13)) * 0xc2b2ae35;
        return number ^ (number >> 16);
    }
}
