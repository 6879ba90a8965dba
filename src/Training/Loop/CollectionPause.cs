using System.Runtime;

namespace MLDistributed.Training.Loop;

/// <summary>
/// Keeps the garbage collector from running inside a step: TorchSharp's wrappers do not keep their arguments alive during
/// native calls. Collections happen in <see cref="BetweenSteps"/>, when the allowance is half used.
/// </summary>
internal sealed class CollectionPause : IDisposable
{
    private const long AllowanceBytes = 96 << 20;

    private long _armedAt;
    private bool _isOwner;

    public CollectionPause() => Arm();

    /// <summary>Collects if it is time to. Cheap otherwise: a step allocates a few KB of the allowance.</summary>
    public void BetweenSteps()
    {
        if (GC.GetTotalAllocatedBytes(precise: false) - _armedAt < AllowanceBytes / 2)
            return;
        Disarm();
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
