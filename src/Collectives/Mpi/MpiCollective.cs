using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.Mpi;

/// <summary>
/// The collective of ranks that a network joins, over MPI's messages between two; sums are made here, in rank order. An
/// all-reduce sends each rank the parts of its shard, which it sums piece by piece and sends back while the next come.
/// </summary>
/// <remarks>
/// Nothing blocks in MPI, which never tells of a rank that is gone. After a failure MPI is not called again, and what it
/// may still know stays allocated: the process is to be replaced, and to end without MPI_Finalize, which can hang.
/// </remarks>
public sealed unsafe class MpiCollective : ICollective
{
    private const int AnnouncementTag = 1;
    private const int PartsTag = 2;
    private const int SumsTag = 3;

    // Two blocks and their sum stay in the first-level cache.
    private const int BlockLength = 2048;

    private readonly Lock _lock = new();
    private readonly MpiOptions _options;
    private readonly MpiPatience _patience;
    private readonly RequestSet _announcements;
    private readonly RequestSet _pieces;
    private readonly PieceStream[] _streams;
    private readonly int[] _others;
    private readonly nint[] _terms;
    private readonly byte* _outgoing;
    private readonly byte* _incoming;
    private readonly MpiProgress _progress;
    private long _number;
    private bool _isBroken;
    private string? _failure;
    private bool _disposed;

    internal MpiCollective(MpiOptions options, MpiPatience patience)
    {
        (_options, _patience) = (options, patience);
        _others = [.. Enumerable.Range(0, WorldSize).Where(r => r != Rank)];
        _terms = new nint[WorldSize];
        _announcements = new RequestSet(2 * WorldSize);
        _outgoing = Allocate(MessageBytes);
        _incoming = Allocate((long)MessageBytes * WorldSize);
        _pieces = new RequestSet(Enum.GetValues<Way>().Length * PieceStream.Window * WorldSize);
        // By way and rank; this rank's own stay empty.
        _streams = [.. from way in Enum.GetValues<Way>() from peer in Enumerable.Range(0, WorldSize)
                       select new PieceStream(peer, way is Way.SendParts or Way.ReceiveParts ? PartsTag : SumsTag, way is Way.SendParts or Way.SendSums, options.PieceBytes,
                           way == Way.ReceiveParts && peer != Rank ? Allocate((long)PieceStream.Window * options.PieceBytes) : null)];
        ExpectAnnouncements();
        _progress = new MpiProgress(Look);
    }

    private enum Way { SendParts, ReceiveParts, SendSums, ReceiveSums }

    /// <inheritdoc/>
    public int Rank => _options.Rank;

    /// <inheritdoc/>
    public int WorldSize => _options.WorldSize;

    /// <inheritdoc/>
    public bool IsAborted => _patience.IsAborted;

    private int MessageBytes => Announcement.Bytes + _options.InlineBytes;

    /// <inheritdoc/>
    public void AllReduce(Span<float> values) => AllReduceOf(values);

    /// <inheritdoc/>
    public void AllReduce(Span<double> values) => AllReduceOf(values);

    /// <inheritdoc/>
    public void AllReduce(Span<float> values, WireType wire)
    {
        // Short ones cost a message, whatever their bytes.
        if (wire == WireType.Float32 || IsShort<float>(values.Length))
            AllReduceOf(values);
        else
            AllReduceHalves(values);
    }

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
    public void Barrier() => Barrier(_options.Timeout);

    /// <inheritdoc/>
    public void Barrier(TimeSpan timeout)
    {
        lock (_lock)
        {
            Announce<float>(MpiOperation.Barrier, 0, [], timeout);
            Finish();
        }
    }

    /// <inheritdoc/>
    public void Abort() => _patience.Abort();

    /// <summary>Takes its leave of nobody: a <see cref="Barrier()"/> before it keeps the last values from being lost with the process.</summary>
    public void Dispose()
    {
        if (!_disposed)
            _progress.Dispose();
        _disposed = true;
    }

    private static byte* Allocate(long bytes) => (byte*)NativeMemory.AlignedAlloc((nuint)bytes, 4096);

    private void AllReduceOf<T>(Span<T> values) where T : unmanaged, INumber<T>
    {
        lock (_lock)
        {
            var isShort = IsShort<T>(values.Length);
            Announce<T>(MpiOperation.AllReduce, values.Length, isShort ? values : []);
            fixed (T* start = values)
            {
                if (isShort)
                    SumInline(start, 0, values.Length, start);
                else
                    Reduce(start, values.Length, start + Mine(values.Length).Start, gathers: true);
            }

            Finish();
        }
    }

    // Halves lie in the first half of the values' own memory.
    private void AllReduceHalves(Span<float> values)
    {
        lock (_lock)
        {
            Announce<ushort>(MpiOperation.AllReduce, values.Length, []);
            var halves = MemoryMarshal.Cast<float, ushort>(values)[..values.Length];
            BFloat16.Narrow(values, halves);
            fixed (ushort* start = halves)
                Reduce(start, halves.Length, start + Mine(halves.Length).Start, gathers: true);
            BFloat16.Widen(halves, values);
            Finish();
        }
    }

    private void ReduceScatterOf<T>(ReadOnlySpan<T> values, Span<T> shard) where T : unmanaged, INumber<T>
    {
        var mine = CheckShard(shard.Length, values.Length);
        lock (_lock)
        {
            var isShort = IsShort<T>(values.Length);
            Announce(MpiOperation.ReduceScatter, values.Length, isShort ? values : []);
            fixed (T* start = values, into = shard)
            {
                if (isShort)
                    SumInline(start + mine.Start, mine.Start, (int)mine.Count, into);
                else
                    Reduce(start, values.Length, into, gathers: false);
            }

            Finish();
        }
    }

    private void AllGatherOf<T>(ReadOnlySpan<T> shard, Span<T> values) where T : unmanaged, INumber<T>
    {
        var mine = CheckShard(shard.Length, values.Length);
        lock (_lock)
        {
            // By the longest shard: as all ranks have it.
            var isShort = IsShort<T>(Shard.Of(values.Length, 0, WorldSize).Count);
            Announce<T>(MpiOperation.AllGather, values.Length, isShort ? shard : []);
            shard.CopyTo(values[(int)mine.Start..]);
            fixed (T* start = values)
            {
                foreach (var rank in _others)
                {
                    var theirs = Shard.Of(values.Length, rank, WorldSize);
                    if (isShort)
                        new ReadOnlySpan<T>(Inline<T>(rank), (int)theirs.Count).CopyTo(values[(int)theirs.Start..]);
                    Begin(Way.SendParts, rank, start, 0);
                    Begin(Way.ReceiveParts, rank, start, 0);
                    Begin(Way.SendSums, rank, start + mine.Start, isShort ? 0 : mine.Count);
                    Begin(Way.ReceiveSums, rank, start + theirs.Start, isShort ? 0 : theirs.Count);
                }

                Transfer(start, start, isReduction: false);
            }

            Finish();
        }
    }

    private void BroadcastOf<T>(Span<T> values, int root) where T : unmanaged, INumber<T>
    {
        ArgumentOutOfRangeException.ThrowIfNegative(root);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(root, WorldSize);
        lock (_lock)
        {
            var isShort = IsShort<T>(values.Length);
            Announce<T>(MpiOperation.Broadcast, values.Length, isShort && Rank == root ? values : [], root: root);
            if (isShort && Rank != root)
                new ReadOnlySpan<T>(Inline<T>(root), values.Length).CopyTo(values);
            fixed (T* start = values)
            {
                foreach (var rank in _others)
                {
                    Begin(Way.SendParts, rank, start, 0);
                    Begin(Way.ReceiveParts, rank, start, 0);
                    Begin(Way.SendSums, rank, start, !isShort && Rank == root ? values.Length : 0);
                    Begin(Way.ReceiveSums, rank, start, !isShort && rank == root ? values.Length : 0);
                }

                Transfer(start, start, isReduction: false);
            }

            Finish();
        }
    }

    // Each rank gets the parts of its shard, sums them, and, where all are to have the sums, sends them.
    private void Reduce<T>(T* values, long length, T* into, bool gathers) where T : unmanaged, INumber<T>
    {
        var mine = Mine(length);
        foreach (var rank in _others)
        {
            var theirs = Shard.Of(length, rank, WorldSize);
            Begin(Way.SendParts, rank, values + theirs.Start, theirs.Count);
            Begin(Way.ReceiveParts, rank, values, mine.Count);
            Begin(Way.SendSums, rank, into, gathers ? mine.Count : 0);
            Begin(Way.ReceiveSums, rank, values + theirs.Start, gathers ? theirs.Count : 0);
        }

        Transfer(values + mine.Start, into, isReduction: true);
    }

    // What a stream may hand to MPI depends on how far others are: a sum on the parts, a place for sums on the parts that have left it.
    private void Transfer<T>(T* own, T* into, bool isReduction) where T : unmanaged, INumber<T>
    {
        var summed = isReduction ? 0 : int.MaxValue;
        while (true)
        {
            for (; isReduction && HavePart(summed); summed++)
                SumPiece(own, summed, into);
            var isDone = true;
            foreach (var rank in _others)
            {
                var parts = Stream(Way.SendParts, rank);
                isDone &= Post(Way.ReceiveParts, rank, (int)Math.Min(int.MaxValue, (long)summed + PieceStream.Window));
                isDone &= Post(Way.SendParts, rank, int.MaxValue);
                isDone &= Post(Way.ReceiveSums, rank, parts.IsDone ? int.MaxValue : parts.Done);
                isDone &= Post(Way.SendSums, rank, summed);
            }

            if (isDone)
                return;
            foreach (var (owner, piece) in Await(_pieces, _options.Timeout))
                _streams[owner].Finish(piece);
        }
    }

    private bool HavePart(int piece)
    {
        foreach (var rank in _others)
        {
            if (Stream(Way.ReceiveParts, rank).Done <= piece)
                return false;
        }

        return _others.Length > 0;
    }

    private void SumPiece<T>(T* own, int piece, T* into) where T : unmanaged, INumber<T>
    {
        var start = (long)piece * (_options.PieceBytes / sizeof(T));
        _terms[Rank] = (nint)(own + start);
        foreach (var rank in _others)
            _terms[rank] = (nint)Stream(Way.ReceiveParts, rank).Place(piece);
        Sum(Stream(Way.ReceiveParts, _others[0]).Bytes(piece) / sizeof(T), into + start);
    }

    private void SumInline<T>(T* own, long offset, int length, T* into) where T : unmanaged, INumber<T>
    {
        _terms[Rank] = (nint)own;
        foreach (var rank in _others)
            _terms[rank] = (nint)(Inline<T>(rank) + offset);
        Sum(length, into);
    }

    // In rank order: the same bits whoever sums. A block's own values are read before its sum takes their place.
    private void Sum<T>(int length, T* into) where T : unmanaged, INumber<T>
    {
        if (typeof(T) == typeof(ushort))
        {
            SumHalves(length, (ushort*)into);
            return;
        }

        Span<T> sum = stackalloc T[BlockLength];
        for (var at = 0; at < length; at += BlockLength)
        {
            var count = Math.Min(BlockLength, length - at);
            var target = new Span<T>(into + at, count);
            if (WorldSize <= 2)
            {
                if (WorldSize == 2)
                    TensorPrimitives.Add(Term<T>(0, at, count), Term<T>(1, at, count), target);
                else
                    Term<T>(0, at, count).CopyTo(target);
                continue;
            }

            var block = sum[..count];
            TensorPrimitives.Add(Term<T>(0, at, count), Term<T>(1, at, count), block);
            for (var rank = 2; rank < WorldSize; rank++)
                TensorPrimitives.Add(block, Term<T>(rank, at, count), block);
            block.CopyTo(target);
        }
    }

    // As above: numbers of 16 bits are the upper halves of floats.
    private void SumHalves(int length, ushort* into)
    {
        Span<float> sum = stackalloc float[BlockLength], term = stackalloc float[BlockLength];
        for (var at = 0; at < length; at += BlockLength)
        {
            var count = Math.Min(BlockLength, length - at);
            BFloat16.Widen(Term<ushort>(0, at, count), sum);
            for (var rank = 1; rank < WorldSize; rank++)
            {
                BFloat16.Widen(Term<ushort>(rank, at, count), term);
                TensorPrimitives.Add(sum[..count], term[..count], sum);
            }

            BFloat16.Narrow(sum[..count], new Span<ushort>(into + at, count));
        }
    }

    private ReadOnlySpan<T> Term<T>(int rank, int at, int count) where T : unmanaged => new((T*)_terms[rank] + at, count);

    // Tells all ranks what this one does, and waits for what they do: also a barrier.
    private void Announce<T>(MpiOperation operation, long length, ReadOnlySpan<T> inline, TimeSpan? timeout = null, int root = -1) where T : unmanaged
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _patience.ThrowIfAborted();
        if (_failure is not null)
            throw new CollectiveNetworkException(_failure);
        if (_isBroken)
            throw new CollectiveException($"Rank {_options.Describe(Rank)} has had a failed operation: MPI cannot be called again in this process. Start another for the next attempt.");
        _isBroken = true;
        var mine = new Announcement { Number = _number++, Operation = (int)operation, ElementType = (int)Type.GetTypeCode(typeof(T)), Length = length, Root = root };
        *(Announcement*)_outgoing = mine;
        inline.CopyTo(new Span<T>(_outgoing + Announcement.Bytes, inline.Length));
        foreach (var rank in _others)
        {
            try
            {
                _announcements.Add(NativeMpi.Send(_outgoing, Announcement.Bytes + inline.Length * sizeof(T), rank, AnnouncementTag), rank);
            }
            catch (CollectiveNetworkException e)
            {
                throw Unreachable(rank, e);
            }
        }

        while (_announcements.Count > 0)
            Await(_announcements, timeout ?? _options.Timeout);
        foreach (var rank in _others)
        {
            var theirs = *(Announcement*)Message(rank);
            if (!theirs.IsSameAs(mine))
                throw new CollectiveMismatchException($"Rank {_options.Describe(Rank)} is in {mine} and rank {_options.Describe(rank)} in {theirs}, expected the same on all ranks.");
        }
    }

    // What came along has been read: the next may come.
    private void Finish()
    {
        ExpectAnnouncements();
        _isBroken = false;
    }

    private void ExpectAnnouncements()
    {
        foreach (var rank in _others)
            _announcements.Add(NativeMpi.Receive(Message(rank), MessageBytes, rank, AnnouncementTag), rank);
    }

    // Between operations; what fails here is the next operation's failure.
    private bool Look()
    {
        if (!_lock.TryEnter())
            return true;
        try
        {
            if (_isBroken || IsAborted)
                return false;
            _announcements.Test();
            return true;
        }
        catch (CollectiveException e)
        {
            (_isBroken, _failure) = (true, e.Message);
            return false;
        }
        finally
        {
            _lock.Exit();
        }
    }

    private ReadOnlySpan<(int Owner, int Piece)> Await(RequestSet requests, TimeSpan timeout)
    {
        var wait = _patience.Begin(timeout);
        while (true)
        {
            _patience.ThrowIfAborted();
            var done = requests.Test();
            if (done.Length > 0)
                return done;
            if (!wait.Pause())
                throw TimedOut(requests, timeout);
        }
    }

    // Sums are late because of a rank whose parts are missing, if there is one.
    private CollectiveTimeoutException TimedOut(RequestSet requests, TimeSpan timeout)
    {
        Abort();
        var late = requests.Owners.Order().ToArray();
        var missing = late.Where(owner => owner < 2 * WorldSize).DefaultIfEmpty(late[0]).Select(owner => owner % WorldSize).Distinct().ToArray();
        return new CollectiveTimeoutException($"Rank {_options.Describe(Rank)} waited {timeout.TotalSeconds:0.###} s for rank{(missing.Length == 1 ? "" : "s")} {string.Join(", ", missing.Select(r => _options.Describe(r)))}, expected all {WorldSize} ranks. " +
            "See why they stopped or hang, and whether the network between the hosts lets them through.");
    }

    // Its process has ended, which the library notices when it is next sent something, or not.
    private CollectiveNetworkException Unreachable(int rank, CollectiveNetworkException reason)
    {
        Abort();
        return new CollectiveNetworkException($"Rank {_options.Describe(Rank)} does not reach rank {_options.Describe(rank)} any more. See why that stopped, and whether the network between the two lets them through. {reason.Message}");
    }

    private bool IsShort<T>(long length) where T : unmanaged => length * sizeof(T) <= _options.InlineBytes;

    private Shard Mine(long length) => Shard.Of(length, Rank, WorldSize);

    private byte* Message(int rank) => _incoming + (long)MessageBytes * rank;

    private T* Inline<T>(int rank) where T : unmanaged => (T*)(Message(rank) + Announcement.Bytes);

    private PieceStream Stream(Way way, int rank) => _streams[(int)way * WorldSize + rank];

    private void Begin<T>(Way way, int rank, T* start, long length) where T : unmanaged => Stream(way, rank).Begin((byte*)start, length * sizeof(T));

    private bool Post(Way way, int rank, int released)
    {
        var stream = Stream(way, rank);
        if (stream.IsDone)
            return true;
        try
        {
            stream.Post(_pieces, (int)way * WorldSize + rank, released);
        }
        catch (CollectiveNetworkException e)
        {
            throw Unreachable(rank, e);
        }

        return false;
    }

    private Shard CheckShard(int length, int total)
    {
        var mine = Mine(total);
        if (length == mine.Count)
            return mine;
        Abort();
        throw new ArgumentException($"Shard of rank {Rank} has length {length}, expected {mine.Count} of {total} over {WorldSize} ranks.");
    }
}
