using System.Runtime.InteropServices;

namespace Microsoft.ML.Distributed;

/// <summary>The values of features that have few: hours, weekdays, grades. Others are given up as soon as they have more.</summary>
internal sealed class FeatureLevels
{
    private readonly int _size;
    private readonly int _most;
    private readonly List<float>?[] _levels;
    private List<int> _open;

    /// <param name="size">Features of a row.</param>
    /// <param name="most">The most values of one; of more than <see cref="WidestRow"/> features none are looked at.</param>
    public FeatureLevels(int size, int most)
    {
        (_size, _most) = (size, most);
        _levels = size > WidestRow || most == 0 ? [] : [.. Enumerable.Range(0, size).Select(_ => new List<float>())];
        _open = [.. Enumerable.Range(0, _levels.Length)];
    }

    /// <summary>Rows with more features are no tables that somebody made column by column.</summary>
    public const int WidestRow = 1024;

    /// <summary>Adds rows, one after another in memory.</summary>
    public void Add(ReadOnlySpan<float> rows)
    {
        var ended = false;
        foreach (var slot in _open)
        {
            for (var at = slot; at < rows.Length && _levels[slot] is { } levels; at += _size)
            {
                var value = rows[at];
                if (float.IsNaN(value) || CollectionsMarshal.AsSpan(levels).BinarySearch(value) is var place && place >= 0)
                    continue;
                levels.Insert(~place, value);
                if (levels.Count <= _most)
                    continue;
                _levels[slot] = null;
                ended = true;
            }
        }

        if (ended)
            _open = _open.FindAll(s => _levels[s] is not null);
    }

    /// <summary>The features with at least three values, and these in rising order: two are told apart by the feature itself.</summary>
    public IEnumerable<(int Slot, IReadOnlyList<float> Levels)> Found => _open.Where(s => _levels[s]!.Count > 2).Select(s => (s, (IReadOnlyList<float>)_levels[s]!));
}
