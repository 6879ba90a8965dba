using MLDistributed.Collectives;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Data;

/// <summary>Which rows of a ranking's data are which group: a batch is made of whole ones, so that its requests count groups.</summary>
internal sealed class RowGroups
{
    // Of each group its first row; behind the last, the number of rows.
    private readonly long[] _starts;

    /// <exception cref="FormatException">A label is none of a ranking, no group begins with the first row, or one is too long.</exception>
    public RowGroups(DatasetFile file)
    {
        var starts = new List<long>();
        for (var row = 0L; row < file.RowCount; row++)
        {
            var label = file.Label(row);
            if (!RankingLabel.IsRelevance(Math.Abs(label)) || (row == 0 && !RankingLabel.IsFirst(label)))
                throw new FormatException($"Label of row {row} is {label}, expected a degree of relevance from 0 to {RankingLabel.MaxRelevance}, negative where a group begins. Encode the data again with this version.");
            if (RankingLabel.IsFirst(label))
                starts.Add(row);
            else if (row - starts[^1] >= RankingLabel.MaxRowsOfGroup)
                throw new FormatException($"Group of row {row} has more than {RankingLabel.MaxRowsOfGroup} rows. Encode the data again with this version.");
        }

        _starts = [.. starts, file.RowCount];
    }

    public long Count => _starts.Length - 1;

    /// <summary>How many groups have a number of rows on average; at least one.</summary>
    public long GroupsOf(int rows) => Math.Max(1, (long)Math.Round((double)rows * Count / _starts[^1]));

    /// <summary>The most rows that some groups can have.</summary>
    public long MostRows(long groups)
    {
        var sizes = new long[Count];
        for (var group = 0; group < sizes.Length; group++)
            sizes[group] = _starts[group + 1] - _starts[group];
        Array.Sort(sizes);
        return sizes.AsSpan(sizes.Length - (int)Math.Min(groups, sizes.Length)).ToArray().Sum();
    }

    /// <summary>The rows of a part of a global batch.</summary>
    /// <param name="groups">Which groups.</param>
    public BatchRequest RowsOf(BatchRequest groups)
    {
        var (rows, before, total) = (new List<long>(), 0L, 0L);
        for (var i = 0L; i < groups.GlobalRows; i++)
        {
            var group = groups.RowAt(groups.Start + i);
            for (var row = _starts[group]; i >= groups.Rows.Start && i < groups.Rows.End && row < _starts[group + 1]; row++)
                rows.Add(row);
            total += _starts[group + 1] - _starts[group];
            before += i < groups.Rows.Start ? _starts[group + 1] - _starts[group] : 0;
        }

        return groups with { RowAt = position => rows[(int)(position - before)], Start = 0, Rows = new Shard(before, rows.Count), GlobalRows = checked((int)total) };
    }
}
