using System.Runtime;

namespace MLDistributed.Training.Loop;

/// <summary>
/// Keeps the garbage collector from running inside a step: TorchSharp's wrappers do not keep their arguments alive during
/// native calls. Collections happen in <see cref="BetweenSteps"/>.
/// </summary>
internal sealed class CollectionPause : IDisposable
{
    // What a step may allocate, other threads beside it included, without a collection. Pages are the system's until used.
    private const long AllowanceBytes = 96 << 20;

    // A collection costs a millisecond or two, every page that garbage takes anew a microsecond or two.
    private const long GarbageBytes = 8 << 20;

    private long _armedAt;
    private bool _isOwner;

    public CollectionPause() => Arm();

    /// <summary>Collects if it is time to. Cheap otherwise: a step allocates a KB or a few.</summary>
    public void BetweenSteps()
    {
        if (GC.GetTotalAllocatedBytes(precise: false) - _armedAt < GarbageBytes)
            return;
        Disarm();
        // A new region alone collects nothing while there is memory for it: garbage would grow to hundreds of MB.
        if (_isOwner)
            GC.Collect(0);
        Arm();
    }

    public void Dispose() => Disarm();

    private void Arm()
    {
        try
        {
            _isOwner = GCSettings.LatencyMode != GCLatencyMode.NoGCRegion && GC.TryStartNoGCRegion(AllowanceBytes);
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentOutOfRangeException)
        {
            // Another rank of this process (tests) holds the region, or the heap cannot give so much: scopes and cached
            // scalars still hold what native calls use.
            _isOwner = false;
        }

        _armedAt = GC.GetTotalAllocatedBytes(precise: false);
    }

    private void Disarm()
    {
        if (!_isOwner || GCSettings.LatencyMode != GCLatencyMode.NoGCRegion)
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
