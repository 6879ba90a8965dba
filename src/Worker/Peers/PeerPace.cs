namespace MLDistributed.Worker.Peers;

/// <summary>Whether another worker gives its bytes so slowly that the coordinator is asked for the rest. Knows no clock.</summary>
internal sealed class PeerPace
{
    /// <summary>Over how long it is judged, without a pause in which it had nothing to give.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromSeconds(5);

    // As fast as the coordinator's share, all would be done together. A quarter is what busy cores and other streams may cost.
    private const double LeastOfCoordinators = 0.25;

    private const double LeastBytesPerSecond = 16 << 10; // where nothing came from the coordinator to compare with

    private TimeSpan? _since;
    private long _bytes;

    /// <summary>Takes what came.</summary>
    /// <param name="now">The time since any moment.</param>
    /// <param name="bytes">How much; 0: it waits for more itself, and is not judged by that.</param>
    /// <param name="coordinators">What comes from the coordinator, in bytes a second; 0: nothing to compare with.</param>
    /// <returns>Whether it is too slow.</returns>
    public bool IsTooSlow(TimeSpan now, long bytes, double coordinators)
    {
        if (bytes == 0 || _since is null)
        {
            (_since, _bytes) = (now, 0);
            return false;
        }

        _bytes += bytes;
        var time = now - _since.Value;
        if (time < Window)
            return false;
        var rate = _bytes / time.TotalSeconds;
        (_since, _bytes) = (now, 0);
        return rate < Math.Max(coordinators * LeastOfCoordinators, LeastBytesPerSecond);
    }
}
