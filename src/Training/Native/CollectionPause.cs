using System.Runtime;

namespace MLDistributed.Training.Native;

/// <summary>
/// Keeps the garbage collector from running inside a step: TorchSharp's wrappers do not keep their arguments alive during
/// native calls. Collections happen in <see cref="BetweenSteps"/>. Where the heap is small, so is what a step may allocate,
/// and collections come the oftener; the first one that comes inside a step all the same is told.
/// </summary>
internal sealed class CollectionPause : IDisposable
{
    // What a step may allocate, other threads beside it included, without a collection. Pages are the system's until used.
    private const long MostBytes = 96 << 20;

    // Less than what a step allocates is no pause.
    private const long LeastBytes = 64 << 10;

    // A collection costs a millisecond or two, every page that garbage takes anew a microsecond or two.
    private const long GarbagePart = 12;

    // In tests ranks share a process and its one region, and whose steps a collection came into cannot be told.
    private static int s_alive;

    private readonly Action<string>? _warn;
    private long _allowance = MostBytes;
    private long _garbage = MostBytes / GarbagePart;
    private long _armedAt;
    private int _collections;
    private Hold _hold;

    /// <param name="warn">Hears once, in a sentence, that a collection came inside a step, on the calling thread.</param>
    public CollectionPause(Action<string>? warn = null)
    {
        _warn = warn;
        Interlocked.Increment(ref s_alive);
        Arm();
    }

    private enum Hold
    {
        /// <summary>The region is another rank's of this process.</summary>
        Others,

        /// <summary>No region is granted: the youngest generation is emptied between all steps, so that none fills it.</summary>
        None,
        Region,
    }

    /// <summary>Times that steps were found to have been interrupted by collections.</summary>
    public int Interruptions { get; private set; }

    /// <summary>Collects if it is time to. Cheap otherwise: a step allocates a KB or a few.</summary>
    public void BetweenSteps()
    {
        var isInterrupted = _hold != Hold.Others && GC.CollectionCount(0) != _collections;
        if (isInterrupted)
            NoteInterruption();
        if (!isInterrupted && _hold != Hold.None && GC.GetTotalAllocatedBytes(precise: false) - _armedAt < _garbage)
            return;
        Disarm();
        // A new region alone collects nothing while there is memory for it: garbage would grow to hundreds of MB.
        if (_hold != Hold.Others)
            GC.Collect(0);
        Arm();
    }

    public void Dispose()
    {
        Disarm();
        Interlocked.Decrement(ref s_alive);
    }

    // A larger region if there is one by now, and in any case less garbage before the next step begins.
    private void NoteInterruption()
    {
        var isAlone = Volatile.Read(ref s_alive) == 1;
        if (isAlone && Interruptions++ == 0)
        {
            _warn?.Invoke($"Garbage was collected inside a step, which had {_allowance >> 10:N0} KiB of managed memory without a collection: native code may use what was collected, and fail. " +
                "Expected room for what a step allocates. Raise the limit of the ranks' managed heap (DOTNET_GCHeapHardLimit), or give the machine or container more memory.");
        }

        _allowance = Math.Min(MostBytes, 2 * _allowance);
        _garbage /= 2;
    }

    private void Arm()
    {
        _hold = Hold.None;
        while (_hold == Hold.None && _allowance >= LeastBytes)
        {
            _hold = TryArm();
            if (_hold == Hold.None)
                _allowance /= 2;
        }

        _allowance = Math.Max(_allowance, LeastBytes);
        _garbage = Math.Min(_garbage, _allowance / GarbagePart);
        _collections = GC.CollectionCount(0);
        _armedAt = GC.GetTotalAllocatedBytes(precise: false);
    }

    private Hold TryArm()
    {
        if (GCSettings.LatencyMode == GCLatencyMode.NoGCRegion)
            return Hold.Others;
        try
        {
            return GC.TryStartNoGCRegion(_allowance) ? Hold.Region : Hold.None;
        }
        catch (InvalidOperationException)
        {
            return Hold.Others;
        }
        catch (ArgumentOutOfRangeException)
        {
            // More than the heap can ever give at once.
            return Hold.None;
        }
    }

    private void Disarm()
    {
        if (_hold != Hold.Region || GCSettings.LatencyMode != GCLatencyMode.NoGCRegion)
            return;
        try
        {
            GC.EndNoGCRegion();
        }
        catch (InvalidOperationException)
        {
            // A collection came all the same, because more was allocated than asked for: the region is over.
        }
    }
}
