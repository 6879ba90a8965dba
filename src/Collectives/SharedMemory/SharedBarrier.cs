using System.Diagnostics;

namespace MLDistributed.Collectives.SharedMemory;

/// <summary>
/// A barrier in shared memory: one counter, one phase word. The last to come moves the phase on; the others spin for a
/// moment, or yield the core where ranks share it, since ranks mostly come within microseconds of one another, and then
/// sleep on the phase word.
/// </summary>
public sealed unsafe class SharedBarrier
{
    // A sleep costs 50 to 150 microseconds to end on a virtual machine.
    private const int SpinMicroseconds = 300;

    // With fewer cores than ranks, spinning keeps the awaited rank from running: the core is offered to it instead.
    private const int YieldMicroseconds = 2000;

    // Bounds the damage of a wake-up that is lost (an abort between the check and the sleep).
    private static readonly TimeSpan s_nap = TimeSpan.FromMilliseconds(40);

    private readonly SegmentHeader* _header;
    private readonly RankSlot* _slots;
    private readonly int _rank;
    private readonly int _worldSize;
    private readonly int _firstRank;
    private readonly long _spinTicks;
    private readonly bool _native;
    private readonly bool _yields;

    internal SharedBarrier(SegmentHeader* header, RankSlot* slots, SegmentOptions options, bool native)
    {
        _header = header;
        _slots = slots;
        (_rank, _worldSize, _firstRank) = (options.Rank, options.WorldSize, options.FirstRank);
        _native = native;
        _yields = _worldSize > Environment.ProcessorCount;
        _spinTicks = Stopwatch.Frequency * (_yields ? YieldMicroseconds : SpinMicroseconds) / 1_000_000;
    }

    /// <summary>Returns when all ranks have come.</summary>
    /// <exception cref="CollectiveAbortedException">A rank has aborted.</exception>
    /// <exception cref="CollectiveTimeoutException">A rank did not come within <paramref name="timeout"/>; all waits fail from now on.</exception>
    public void Wait(TimeSpan timeout) => Await(Arrive(), timeout);

    /// <summary>The first half of <see cref="Wait"/>: says that this rank has come. What it does until <see cref="Await"/> may not need the others.</summary>
    /// <returns>The meeting to wait for, before this rank arrives again; the next one has the next number.</returns>
    /// <exception cref="CollectiveAbortedException">A rank has aborted.</exception>
    public int Arrive() => Arrive(_rank);

    /// <summary><see cref="Arrive()"/> for a rank, this one or another, whose part this one has taken (<see cref="TryTake"/>) and done.</summary>
    public int Arrive(int rank)
    {
        ThrowIfAborted();
        var phase = Volatile.Read(ref _header->Phase);
        Volatile.Write(ref _slots[rank].Arrivals, phase + 1);
        if (Interlocked.Increment(ref _header->Arrived) == _worldSize)
        {
            Volatile.Write(ref _header->Arrived, 0);
            Interlocked.Increment(ref _header->Phase);
            if (Volatile.Read(ref _header->Sleepers) != 0)
                Futex.WakeAll(&_header->Phase);
        }

        return phase;
    }

    /// <summary>
    /// Takes on what a rank has to do before the next meeting, unless somebody has: so the ranks that run do the work of
    /// those that wait for a core. After all ranks have come to the meeting before, whose parts are thus known to be open.
    /// </summary>
    /// <param name="rank">Whose part.</param>
    /// <param name="meeting">Where the part's end is told (<see cref="Arrive(int)"/>); all parts of a meeting must be taken, and none of others.</param>
    /// <returns>Whether the part is now this rank's to do.</returns>
    public bool TryTake(int rank, int meeting)
    {
        ref var taken = ref _slots[rank].Taken;
        var before = Volatile.Read(ref taken);
        // Not != : a rank that was away for long finds parts taken for a later meeting. Numbers wrap around.
        if (meeting + 1 - before <= 0 || Interlocked.CompareExchange(ref taken, meeting + 1, before) != before)
            return false;
        Volatile.Write(ref _slots[rank].TakenBy, _rank);
        return true;
    }

    /// <summary>The second half of <see cref="Wait"/>: returns when all ranks have arrived.</summary>
    /// <param name="meeting">What <see cref="Arrive()"/> returned, or the number after it, once that meeting is over, where parts are taken.</param>
    /// <param name="timeout">Counted from now.</param>
    /// <exception cref="CollectiveAbortedException">A rank has aborted.</exception>
    /// <exception cref="CollectiveTimeoutException">A rank did not come within <paramref name="timeout"/>; all waits fail from now on.</exception>
    public void Await(int meeting, TimeSpan timeout)
    {
        if (!Spin(meeting))
            Sleep(meeting, timeout);
    }

    /// <summary>Makes every wait of every rank fail from now on.</summary>
    public void Abort()
    {
        Interlocked.CompareExchange(ref _header->Aborted, 1 + _rank, 0);
        Futex.WakeAll(&_header->Phase);
    }

    private bool Spin(int meeting)
    {
        var end = Stopwatch.GetTimestamp() + _spinTicks;
        do
        {
            for (var i = 0; i < (_yields ? 1 : 16); i++)
            {
                if (Volatile.Read(ref _header->Phase) != meeting)
                    return true;
                if (_yields)
                    Thread.Yield();
                else
                    Thread.SpinWait(2);
            }
        }
        while (Stopwatch.GetTimestamp() < end);
        return false;
    }

    private void Sleep(int meeting, TimeSpan timeout)
    {
        var started = Stopwatch.GetTimestamp();
        Interlocked.Increment(ref _header->Sleepers);
        try
        {
            while (Volatile.Read(ref _header->Phase) == meeting)
            {
                ThrowIfAborted();
                var left = timeout - Stopwatch.GetElapsedTime(started);
                if (left <= TimeSpan.Zero)
                    throw TimedOut(meeting, timeout);
                Futex.WaitWhile(&_header->Phase, meeting, left < s_nap ? left : s_nap, _native);
            }
        }
        finally
        {
            Interlocked.Decrement(ref _header->Sleepers);
        }
    }

    /// <exception cref="CollectiveAbortedException">A rank has aborted; the message says which.</exception>
    public void ThrowIfAborted()
    {
        var aborted = Volatile.Read(ref _header->Aborted);
        if (aborted != 0)
            throw new CollectiveAbortedException($"Rank {_firstRank + _rank} was stopped because rank {_firstRank + aborted - 1} aborted.");
    }

    private CollectiveTimeoutException TimedOut(int meeting, TimeSpan timeout)
    {
        var missing = Enumerable.Range(0, _worldSize).Where(r => Volatile.Read(ref _slots[r].Arrivals) - meeting <= 0)
            .Select(r => Volatile.Read(ref _slots[r].Taken) == meeting + 1 ? Volatile.Read(ref _slots[r].TakenBy) : r).Distinct().ToArray();
        Abort();
        return new CollectiveTimeoutException(
            $"Rank {_firstRank + _rank} waited {timeout.TotalSeconds:0.###} s for rank{(missing.Length == 1 ? "" : "s")} {string.Join(", ", missing.Select(r => _firstRank + r))}, expected all {_worldSize} ranks. See why they stopped or hang.");
    }
}
