using MLDistributed.Collectives;

namespace MLDistributed.Training.Data;

/// <summary>How global batches are cut into parts, each run forward and backward alone, and which parts are a rank's.</summary>
/// <param name="First">The rank's first part.</param>
/// <param name="Count">The rank's parts; may be 0.</param>
/// <param name="Total">Parts of a global batch, over all ranks.</param>
internal readonly record struct BatchSplit(int First, int Count, int Total)
{
    /// <summary>One part a rank.</summary>
    public static BatchSplit OverRanks(int rank, int worldSize) => new(rank, 1, worldSize);

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
