namespace MLDistributed.Coordinator.Cluster;

/// <summary>
/// The time by which the coordinator waits for others. Monotonic: no setting of the wall clock makes anybody late. And it
/// stands still while this process cannot run (stopped, starved, on a suspended machine): nobody is judged for what could
/// not be heard, and all have at least a heartbeat's time when it goes on.
/// </summary>
internal sealed class AwakeClock(TimeProvider time, TimeSpan interval)
{
    private const double TicksPerTimeout = 10;
    private const int MaxIntervals = 2; // as a timer may be late
    private readonly Lock _gate = new();
    private long _beat = time.GetTimestamp();
    private TimeSpan _atBeat;

    /// <summary>How often <see cref="Beat"/> is to be called.</summary>
    public TimeSpan Interval => interval;

    /// <summary>Time awake since the start.</summary>
    public TimeSpan Now
    {
        get
        {
            lock (_gate)
                return NowLocked();
        }
    }

    /// <summary>One whose intervals are short beside the heartbeat timeout.</summary>
    public static AwakeClock Of(CoordinatorOptions options) =>
        new(options.Time, TimeSpan.FromMilliseconds(Math.Clamp(options.HeartbeatTimeout.TotalMilliseconds / TicksPerTimeout, 20, 1000)));

    /// <summary>This process runs: between two of these, at most two intervals pass.</summary>
    public void Beat()
    {
        lock (_gate)
            (_atBeat, _beat) = (NowLocked(), time.GetTimestamp());
    }

    private TimeSpan NowLocked()
    {
        var (passed, most) = (time.GetElapsedTime(_beat), interval * MaxIntervals);
        return _atBeat + (passed < most ? passed : most);
    }
}
