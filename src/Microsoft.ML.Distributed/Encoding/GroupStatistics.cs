using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Watches the groups of a ranking's rows go by: whether each one's rows stand together, and whether there is something to learn from them.</summary>
/// <remarks>Of every group its key is kept: that it comes back must be told from a new one.</remarks>
internal sealed class GroupStatistics(TrainingColumns columns, DataViewSchema.Column column)
{
    private readonly HashSet<ulong> _seen = [];
    private ulong _current;
    private long _rows;
    private float _relevance;
    private bool _isTelling;

    /// <summary>How many groups there are so far.</summary>
    public long Count => _seen.Count;

    /// <summary>Groups with rows of different relevance.</summary>
    public long Telling { get; private set; }

    /// <summary>Counts a row in that was checked, and makes its label as a dataset has it.</summary>
    /// <param name="group">The key's number, from 1.</param>
    /// <param name="relevance">The row's.</param>
    /// <param name="row">Its place in the data.</param>
    /// <exception cref="InvalidDataException">The group has been left before, or is too large.</exception>
    public float Add(ulong group, float relevance, long row)
    {
        var isFirst = group != _current;
        if (isFirst)
        {
            if (!_seen.Add(group))
                throw new InvalidDataException($"Group column \"{columns.Group}\" comes back to group {SameMeaning.NameOfKey(column, group)} at row {row:N0}, expected the rows of each group one behind the other. Order the data by group, as in ml.Data.LoadFromEnumerable(rows.OrderBy(r => r.{columns.Group})), and do not shuffle it.");
            (_current, _rows, _relevance, _isTelling) = (group, 0, relevance, false);
        }

        if (++_rows > RankingLabel.MaxRowsOfGroup)
            throw new InvalidDataException($"Group column \"{columns.Group}\" has more than {RankingLabel.MaxRowsOfGroup:N0} rows of group {SameMeaning.NameOfKey(column, group)} up to row {row:N0}, expected at most as many: all of a group are compared with one another. Make groups smaller, as by dropping rows that nobody would look at.");
        if (!_isTelling && relevance != _relevance)
            (_isTelling, Telling) = (true, Telling + 1);
        return RankingLabel.Of(relevance, isFirst);
    }

    /// <exception cref="InvalidDataException">No group has two rows of different relevance.</exception>
    public void RequirePairs()
    {
        if (Telling == 0)
            throw new InvalidDataException($"Group column \"{columns.Group}\" has {Count:N0} groups of {(_seen.Count > 0 && _rows == 1 ? "one row, or " : "")}one relevance each in label column \"{columns.Label}\", expected some with rows of different relevance: there is no order to learn. Check which column the groups are.");
    }
}
