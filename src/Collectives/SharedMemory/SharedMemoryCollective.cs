using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.SharedMemory;

/// <summary>
/// The collective of ranks on one host, over a <see cref="SharedSegment"/>. Values go through staging memory piece by
/// piece; those that lie in the segment's gradients, at the same place on all ranks, are summed there without a copy.
/// </summary>
public sealed unsafe class SharedMemoryCollective : ICollective
{
    // Stays in the first-level cache between the sum and the copies.
    private const int BlockLength = 2048;

    private readonly SharedSegment _segment;

    /// <summary>Takes the segment over: it is disposed with this.</summary>
    public SharedMemoryCollective(SharedSegment segment) => _segment = segment;

    private enum Operation { AllReduce = 1, ReduceScatter, AllGather, Broadcast }

    /// <inheritdoc/>
    public int Rank => _segment.Rank;

    /// <inheritdoc/>
    public int WorldSize => _segment.WorldSize;

    /// <inheritdoc/>
    public bool IsAborted => _segment.IsAborted;

    /// <summary>The memory.</summary>
    public SharedSegment Segment => _segment;

    /// <inheritdoc/>
    public void AllReduce(Span<float> values)
    {
        var place = PlaceInGradients(values);
        if (place >= 0)
            AllReduceInPlace(place, values.Length);
        else
            AllReduceOf(values);
    }

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
    public void Barrier() => Barrier(_segment.Options.Timeout);

    /// <inheritdoc/>
    public void Barrier(TimeSpan timeout) => _segment.Barrier.Wait(timeout);

    /// <summary>The first half of <see cref="Barrier()"/>, for what a rank can do without the others meanwhile.</summary>
    /// <returns>What to give to <see cref="Await"/>, before any other operation.</returns>
    public int Arrive() => _segment.Barrier.Arrive();

    /// <inheritdoc cref="SharedBarrier.Arrive(int)"/>
    public void Arrive(int rank) => _segment.Barrier.Arrive(rank);

    /// <inheritdoc cref="SharedBarrier.TryTake"/>
    public bool TryTake(int rank, int meeting) => _segment.Barrier.TryTake(rank, meeting);

    /// <summary>The second half of <see cref="Barrier()"/>.</summary>
    public void Await(int meeting) => _segment.Barrier.Await(meeting, _segment.Options.Timeout);

    /// <inheritdoc cref="SharedBarrier.ThrowIfAborted"/>
    public void ThrowIfAborted() => _segment.Barrier.ThrowIfAborted();

    /// <inheritdoc/>
    public void Abort() => _segment.Abort();

    /// <inheritdoc/>
    public void Dispose() => _segment.Dispose();

    // In pieces: a rank copies in what others sum, sums its own part over all ranks, and copies out what others have summed.
    private void AllReduceOf<T>(Span<T> values) where T : unmanaged, INumber<T>
    {
        Announce<T>(Operation.AllReduce, values.Length);
        var pieceLength = _segment.Options.StagingBytes / sizeof(T);
        var result = Staging<T>(WorldSize);
        var start = 0;
        do
        {
            var piece = values.Slice(start, Math.Min(pieceLength, values.Length - start));
            var mine = Shard.Of(piece.Length, Rank, WorldSize);
            var (from, to) = ((int)mine.Start, (int)mine.End);
            CopyAllBut(from, to, piece, Staging<T>(Rank));
            Meet();
            // In blocks that are still in the first-level cache when they are copied.
            for (var at = from; at < to; at += BlockLength)
            {
                var end = Math.Min(at + BlockLength, to);
                Sum(at, piece[at..end], result[at..end]);
                result[at..end].CopyTo(piece[at..]);
            }

            Barrier();
            CopyAllBut(from, to, result[..piece.Length], piece);
            start += piece.Length;
        }
        while (start < values.Length);
    }

    private static void CopyAllBut<T>(int from, int to, ReadOnlySpan<T> source, Span<T> target)
    {
        source[..from].CopyTo(target);
        source[to..].CopyTo(target[to..]);
    }

    // Each rank sums its shard of everybody's gradients and writes it back to all of them: half the traffic of the copies.
    private void AllReduceInPlace(long place, int length)
    {
        Announce<float>(Operation.AllReduce, length, place);
        Meet();
        var mine = Shard.Of(length, Rank, WorldSize);
        if (WorldSize == 2)
            PairSum.IntoBoth(_segment.Gradients(0) + place + mine.Start, _segment.Gradients(1) + place + mine.Start, mine.Count);
        else
            SumIntoAll(place + mine.Start, mine.Count);
        Barrier();
    }

    private void SumIntoAll(long first, long length)
    {
        Span<float> sum = stackalloc float[BlockLength];
        for (var start = first; start < first + length; start += BlockLength)
        {
            var block = sum[..(int)Math.Min(BlockLength, first + length - start)];
            TensorPrimitives.Add(Of(0, block.Length), Of(1, block.Length), block);
            for (var rank = 2; rank < WorldSize; rank++)
                TensorPrimitives.Add(block, Of(rank, block.Length), block);
            for (var rank = 0; rank < WorldSize; rank++)
                block.CopyTo(Of(rank, block.Length));

            Span<float> Of(int rank, int count) => new(_segment.Gradients(rank) + start, count);
        }
    }

    // Where values lie in this rank's gradients, or -1.
    private long PlaceInGradients(Span<float> values)
    {
        if (WorldSize == 1)
            return -1;
        var start = (float*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(values));
        var place = start - _segment.Gradients(Rank);
        return start >= _segment.Gradients(Rank) && place + values.Length <= _segment.Length ? place : -1;
    }

    private void ReduceScatterOf<T>(ReadOnlySpan<T> values, Span<T> shard) where T : unmanaged, INumber<T>
    {
        var mine = CheckShard(shard.Length, values.Length);
        Announce<T>(Operation.ReduceScatter, values.Length);
        var pieceLength = _segment.Options.StagingBytes / sizeof(T);
        var start = 0;
        do
        {
            var length = Math.Min(pieceLength, values.Length - start);
            values.Slice(start, length).CopyTo(Staging<T>(Rank));
            Meet();
            var from = Math.Max(mine.Start, start);
            var to = Math.Min(mine.End, start + length);
            if (from < to)
                Sum((int)(from - start), values.Slice((int)from, (int)(to - from)), shard.Slice((int)(from - mine.Start), (int)(to - from)));
            Barrier();
            start += length;
        }
        while (start < values.Length);
    }

    private void AllGatherOf<T>(ReadOnlySpan<T> shard, Span<T> values) where T : unmanaged, INumber<T>
    {
        CheckShard(shard.Length, values.Length);
        Announce<T>(Operation.AllGather, values.Length);
        var pieceLength = _segment.Options.StagingBytes / sizeof(T);
        var longest = (int)Shard.Of(values.Length, 0, WorldSize).Count;
        var start = 0;
        do
        {
            Piece(shard.Length, start, out var count);
            shard.Slice(Math.Min(start, shard.Length), count).CopyTo(Staging<T>(Rank));
            Meet();
            for (var rank = 0; rank < WorldSize; rank++)
            {
                var theirs = Shard.Of(values.Length, rank, WorldSize);
                Piece((int)theirs.Count, start, out count);
                if (count > 0)
                    Staging<T>(rank)[..count].CopyTo(values.Slice((int)theirs.Start + start, count));
            }

            Barrier();
            start = (int)Math.Min((long)start + pieceLength, longest);
        }
        while (start < longest);

        void Piece(int length, int from, out int count) => count = Math.Clamp(length - from, 0, pieceLength);
    }

    private void BroadcastOf<T>(Span<T> values, int root) where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfNegative(root);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(root, WorldSize);
        Announce<T>(Operation.Broadcast, values.Length, root);
        var pieceLength = _segment.Options.StagingBytes / sizeof(T);
        var start = 0;
        do
        {
            var piece = values.Slice(start, Math.Min(pieceLength, values.Length - start));
            if (Rank == root)
                piece.CopyTo(Staging<T>(root));
            Meet();
            if (Rank != root)
                Staging<T>(root)[..piece.Length].CopyTo(piece);
            Barrier();
            start += piece.Length;
        }
        while (start < values.Length);
    }

    // In rank order: the same bits whoever sums.
    private void Sum<T>(int start, ReadOnlySpan<T> own, Span<T> into) where T : unmanaged, INumber<T>
    {
        if (WorldSize == 1)
        {
            own.CopyTo(into);
            return;
        }

        // In blocks: a long sum would pass by the caches, where the next rank's values are added to it.
        for (var at = 0; at < own.Length; at += BlockLength)
        {
            var block = into.Slice(at, Math.Min(BlockLength, own.Length - at));
            TensorPrimitives.Add(Of(0, at, own), Of(1, at, own), block);
            for (var rank = 2; rank < WorldSize; rank++)
                TensorPrimitives.Add(block, Of(rank, at, own), block);
        }

        ReadOnlySpan<T> Of(int rank, int at, ReadOnlySpan<T> own)
        {
            var length = Math.Min(BlockLength, own.Length - at);
            return rank == Rank ? own.Slice(at, length) : Staging<T>(rank).Slice(start + at, length);
        }
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

    // Checked by all at the operation's first barrier. A fast rank's next announcement cannot come before a slow rank's
    // check of this one: every operation has a second barrier.
    private void Announce<T>(Operation operation, long length, long place = -1)
    {
        var slot = _segment.Slot(Rank);
        slot->Operation = (int)operation;
        slot->ElementType = (int)Type.GetTypeCode(typeof(T));
        slot->Length = length;
        slot->Place = place;
    }

    /// <summary>A barrier at which all ranks see that they are in the same operation.</summary>
    private void Meet()
    {
        Barrier();
        for (var rank = 0; rank < WorldSize; rank++)
        {
            if (!_segment.Slot(rank)->IsSameOperation(_segment.Slot(Rank)))
                throw new CollectiveMismatchException($"Rank {_segment.Options.FirstRank + Rank} is in {Describe(Rank)} and rank {_segment.Options.FirstRank + rank} in {Describe(rank)}, expected the same on all ranks.");
        }
    }

    private string Describe(int rank)
    {
        var slot = _segment.Slot(rank);
        var place = slot->Place < 0 ? "" : (Operation)slot->Operation == Operation.Broadcast ? $" from rank {slot->Place}" : $" in the gradients from {slot->Place} on";
        return $"{(Operation)slot->Operation} of {slot->Length} {(TypeCode)slot->ElementType} values{place}";
    }
}
