using System.Runtime.InteropServices;

namespace Microsoft.ML.Distributed;

/// <summary>Where the values of features lie: all values of those that have few, as hours, weekdays and grades, and quantiles of the others, from a sample of the rows.</summary>
internal sealed class FeatureLevels
{
    private readonly int _size;
    private readonly int _most;
    private readonly RowSample _sample;
    private readonly List<float>?[] _levels;
    private List<int> _open;

    /// <param name="size">Features of a row.</param>
    /// <param name="most">The most values of one; of more than <see cref="WidestRow"/> features none are looked at.</param>
    public FeatureLevels(int size, int most)
    {
        (_size, _most) = (size, most);
        _levels = size > WidestRow || most == 0 ? [] : [.. Enumerable.Range(0, size).Select(_ => new List<float>())];
        _open = [.. Enumerable.Range(0, _levels.Length)];
        _sample = new RowSample(size, SampledRows);
    }

    /// <summary>Rows with more features are no tables that somebody made column by column.</summary>
    public const int WidestRow = 1024;

    // 16 MiB of the widest: a quantile of 16 is right within a hundredth of the rows.
    private const int SampledRows = 4096;

    /// <summary>Some of the rows.</summary>
    public RowSample Sample => _sample;

    /// <summary>Adds rows, one after another in memory.</summary>
    public void Add(ReadOnlySpan<float> rows, ReadOnlySpan<float> labels)
    {
        if (_levels.Length == 0)
            return;
        _sample.Add(rows, labels);
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
    public IEnumerable<(int Slot, IReadOnlyList<float> Levels)> Few => _open.Where(s => _levels[s]!.Count > 2).Select(s => (s, (IReadOnlyList<float>)_levels[s]!));

    /// <summary>The features with more values.</summary>
    public IEnumerable<int> Many => Enumerable.Range(0, _levels.Length).Where(s => _levels[s] is null);

    /// <summary>
    /// What divides the values of a feature into parts with about as many rows each, in rising order, from the least to the
    /// greatest. A value that more rows have than a part would, such as 0 of what mostly is not there, divides by itself.
    /// </summary>
    /// <param name="slot">The feature.</param>
    /// <param name="parts">How many parts at most.</param>
    public IReadOnlyList<float> Quantiles(int slot, int parts)
    {
        var values = _sample.Sorted(slot);
        var own = values.GroupBy(v => v).Where(g => g.Count() * parts > values.Length).Select(g => g.Key).ToHashSet();
        var others = Array.FindAll(values, v => !own.Contains(v));
        var cuts = new SortedSet<float>(own);
        for (int i = 0, left = parts - own.Count; i <= left && others.Length > 0; i++)
            cuts.Add(others[(int)((long)i * (others.Length - 1) / left)]);
        return [.. cuts];
    }
}
