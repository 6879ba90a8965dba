using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.SharedMemory;

/// <summary>
/// The collective of ranks on one host, over a <see cref="SharedSegment"/>. Values go through staging memory piece by
/// piece; training itself works in the segment without these copies.
/// </summary>
public sealed unsafe class SharedMemoryCollective : ICollective
{
    private readonly SharedSegment _segment;

    /// <summary>Takes the segment over: it is disposed with this.</summary>
    public SharedMemoryCollective(SharedSegment segment) => _segment = segment;

    private enum Operation { AllReduce = 1, ReduceScatter, AllGather, Broadcast }

    /// <inheritdoc/>
    public int Rank => _segment.Rank;

    /// <inheritdoc/>
    public int WorldSize => _segment.WorldSize;

    /// <summary>The memory.</summary>
    public SharedSegment Segment => _segment;

    /// <inheritdoc/>
    public void AllReduce(Span<float> values) => AllReduceOf(values);

    /// <inheritdoc/>
    public void AllReduce(Span<double> values) => AllReduceOf(values);

    /// <inheritdoc/>
    public void ReduceScatter(ReadOnlySpan<float> values, Span<float> shard) => ReduceScatterOf(values, shard);

    /// <inheritdoc/>
    public void ReduceScatter(ReadOnlySpan<double> values, Span<double> shard) => ReduceScatterOf(values, shard);

    /// <inheritdoc/>
    public void AllGather(ReadOnlySpan<float> shard, Span<float> values) => AllGatherOf(shard, values);

    /// <inheritdoc/>
    public void AllGather(ReadOnlySpan<double> shard, Span<double> values) => AllGatherOf(shard, values);

    /// <inheritdoc/>
    public void Broadcast(Span<float> values, int root) => BroadcastOf(values, root);

    /// <inheritdoc/>
    public void Broadcast(Span<double> values, int root) => BroadcastOf(values, root);

    /// <inheritdoc/>
    public void Barrier() => _segment.Barrier.Wait(_segment.Options.Timeout);

    /// <inheritdoc/>
    public void Abort() => _segment.Abort();

    /// <inheritdoc/>
    public void Dispose() => _segment.Dispose();

    private void AllReduceOf<T>(Span<T> values) where T : unmanaged, INumber<T>
    {
        Announce(Operation.AllReduce, values.Length);
        var pieceLength = _segment.Options.StagingBytes / sizeof(T);
        var result = Staging<T>(WorldSize);
        for (var start = 0; start < values.Length; start += pieceLength)
        {
            var piece = values.Slice(start, Math.Min(pieceLength, values.Length - start));
            piece.CopyTo(Staging<T>(Rank));
            Barrier();
            var mine = Shard.Of(piece.Length, Rank, WorldSize);
            Sum((int)mine.Start, result.Slice((int)mine.Start, (int)mine.Count));
            Barrier();
            result[..piece.Length].CopyTo(piece);
        }
    }

    private void ReduceScatterOf<T>(ReadOnlySpan<T> values, Span<T> shard) where T : unmanaged, INumber<T>
    {
        var mine = CheckShard(shard.Length, values.Length);
        Announce(Operation.ReduceScatter, values.Length);
        var pieceLength = _segment.Options.StagingBytes / sizeof(T);
        for (var start = 0; start < values.Length; start += pieceLength)
        {
            var length = Math.Min(pieceLength, values.Length - start);
            values.Slice(start, length).CopyTo(Staging<T>(Rank));
            Barrier();
            var from = Math.Max(mine.Start, start);
            var to = Math.Min(mine.End, start + length);
            if (from < to)
                Sum((int)(from - start), shard.Slice((int)(from - mine.Start), (int)(to - from)));
            Barrier();
        }
    }

    private void AllGatherOf<T>(ReadOnlySpan<T> shard, Span<T> values) where T : unmanaged, INumber<T>
    {
        CheckShard(shard.Length, values.Length);
        Announce(Operation.AllGather, values.Length);
        var pieceLength = _segment.Options.StagingBytes / sizeof(T);
        var longest = (int)Shard.Of(values.Length, 0, WorldSize).Count;
        for (var start = 0; start < longest; start += pieceLength)
        {
            Piece(shard.Length, start, out var count);
            shard.Slice(Math.Min(start, shard.Length), count).CopyTo(Staging<T>(Rank));
            Barrier();
            for (var rank = 0; rank < WorldSize; rank++)
            {
                var theirs = Shard.Of(values.Length, rank, WorldSize);
                Piece((int)theirs.Count, start, out count);
                if (count > 0)
                    Staging<T>(rank)[..count].CopyTo(values.Slice((int)theirs.Start + start, count));
            }

            Barrier();
        }

        void Piece(int length, int from, out int count) => count = Math.Clamp(length - from, 0, pieceLength);
    }

    private void BroadcastOf<T>(Span<T> values, int root) where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfNegative(root);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(root, WorldSize);
        Announce(Operation.Broadcast, values.Length);
        var pieceLength = _segment.Options.StagingBytes / sizeof(T);
        for (var start = 0; start < values.Length; start += pieceLength)
        {
            var piece = values.Slice(start, Math.Min(pieceLength, values.Length - start));
            if (Rank == root)
                piece.CopyTo(Staging<T>(root));
            Barrier();
            if (Rank != root)
                Staging<T>(root)[..piece.Length].CopyTo(piece);
            Barrier();
        }
    }

    private void Sum<T>(int start, Span<T> into) where T : unmanaged, INumber<T>
    {
        Staging<T>(0).Slice(start, into.Length).CopyTo(into);
        for (var rank = 1; rank < WorldSize; rank++)
            TensorPrimitives.Add(into, (ReadOnlySpan<T>)Staging<T>(rank).Slice(start, into.Length), into);
    }

    private Span<T> Staging<T>(int rank) where T : unmanaged => MemoryMarshal.Cast<byte, T>(_segment.Staging(rank));

    private Shard CheckShard(int length, int total)
    {
        var mine = Shard.Of(total, Rank, WorldSize);
        if (length == mine.Count)
            return mine;
        Abort();
        throw new ArgumentException($"Shard of rank {Rank} has length {length}, expected {mine.Count} of {total} over {WorldSize} ranks.");
    }

    // The second barrier keeps a fast rank's next announcement from a slow rank's check of this one.
    private void Announce(Operation operation, long length)
    {
        var slot = _segment.Slot(Rank);
        slot->Operation = (int)operation;
        slot->Length = length;
        Barrier();
        for (var rank = 0; rank < WorldSize; rank++)
        {
            var other = _segment.Slot(rank);
            if (other->Operation == (int)operation && other->Length == length)
                continue;
            var message = $"Rank {Rank} is in {operation} of {length} values and rank {rank} in {(Operation)other->Operation} of {other->Length}, expected the same on all ranks.";
            throw new CollectiveMismatchException(message);
        }

        Barrier();
    }
}
