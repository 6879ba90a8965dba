namespace MLDistributed.Collectives;

/// <summary>A rank's contiguous part of something that is split over all ranks.</summary>
/// <param name="Start">The first element.</param>
/// <param name="Count">How many; may be 0.</param>
public readonly record struct Shard(long Start, long Count)
{
    /// <summary>The element after the last.</summary>
    public long End => Start + Count;

    /// <summary>Splits evenly: the first ranks have one element more when it does not divide.</summary>
    public static Shard Of(long length, int rank, int worldSize)
    {
        var (each, more) = Math.DivRem(length, worldSize);
        return new Shard(rank * each + Math.Min(rank, more), each + (rank < more ? 1 : 0));
    }
}
