namespace MLDistributed.Worker.Peers;

/// <summary>Whether another worker gives its bytes so slowly that the coordinator is asked for the rest. Knows no clock.</summary>
/// <remarks>Who waits for more itself is waited for while the own share comes; then not for long, as it may wait for who waits for this one.</remarks>
internal sealed class PeerPace
{
    /// <summary>Over how long it is judged, without a pause in which it had nothing to give.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromSeconds(5);

    /// <summary>How long it may have nothing to give, once the own share is here.</summary>
    public static readonly TimeSpan MostIdle = TimeSpan.FromSeconds(10);

    // As fast as the coordinator's share, all would be done together. A quarter is what busy cores and other streams may cost.
    private const double LeastOfCoordinators = 0.25;

    private const double LeastBytesPerSecond = 16 << 10; // where nothing came from the coordinator to compare with

    private TimeSpan? _since;
    private TimeSpan? _idleSince;
    private long _bytes;

    /// <summary>Takes what came.</summary>
    /// <param name="now">The time since any moment.</param>
    /// <param name="bytes">How much; 0: it waits for more itself.</param>
    /// <param name="coordinators">What comes from the coordinator, in bytes a second; 0: nothing to compare with.</param>
    /// <param name="isOwnHere">Whether the own share is here.</param>
    /// <returns>Why it is left; null: it is not.</returns>
    public string? Judge(TimeSpan now, long bytes, double coordinators, bool isOwnHere)
    {
        _idleSince = bytes > 0 || !isOwnHere ? null : _idleSince ?? now;
        if (now - _idleSince >= MostIdle)
            return $"it has had nothing to give for {MostIdle.TotalSeconds:0} s";
        if (bytes == 0 || _since is null)
        {
            (_since, _bytes) = (now, 0);
            return null;
        }

        _bytes += bytes;
        var time = now - _since.Value;
        if (time < Window)
            return null;
        var rate = _bytes / time.TotalSeconds;
        (_since, _bytes) = (now, 0);
        return rate < Math.Max(coordinators * LeastOfCoordinators, LeastBytesPerSecond) ? "it is less than a quarter as fast as the coordinator" : null;
    }
}
