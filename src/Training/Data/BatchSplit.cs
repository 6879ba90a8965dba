using MLDistributed.Collectives;

namespace MLDistributed.Training.Data;

/// <summary>How global batches are cut into parts, each run forward and backward alone, and which parts are a rank's.</summary>
/// <param name="First">The rank's first part.</param>
/// <param name="Count">The rank's parts; may be 0.</param>
/// <param name="Total">Parts of a global batch, over all ranks.</param>
internal readonly record struct BatchSplit(int First, int Count, int Total)
{
    /// <summary>As few parts a rank as have no more rows than the limit, the same number on each; 0: no limit.</summary>
    public static BatchSplit OverRanks(int globalRows, int maxRows, int rank, int worldSize)
    {
        var rows = Shard.Of(globalRows, 0, worldSize).Count;
        var parts = maxRows == 0 ? 1 : (rows + maxRows - 1) / maxRows;
        return new BatchSplit(checked((int)(rank * parts)), (int)parts, checked((int)(worldSize * parts)));
    }

    /// <summary>A number of parts that does not depend on the number of ranks.</summary>
    public static BatchSplit OfParts(int parts, int rank, int worldSize)
    {
        var mine = Shard.Of(parts, rank, worldSize);
        return new BatchSplit((int)mine.Start, (int)mine.Count, parts);
    }

    /// <summary>The rows of a part, counted within the global batch.</summary>
    public Shard Rows(int part, int globalRows) => Shard.Of(globalRows, part, Total);

    /// <summary>The most rows of a part.</summary>
    public int MaxRows(int globalRows) => (int)Shard.Of(globalRows, 0, Total).Count;
}
