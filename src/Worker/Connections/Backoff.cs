namespace MLDistributed.Worker.Connections;

/// <summary>How long to wait before the next try.</summary>
internal static class Backoff
{
    private const double FractionOfOutage = 0.2;
    private static readonly TimeSpan Least = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan Most = TimeSpan.FromSeconds(5);

    /// <summary>
    /// A fifth of the outage so far, from 50 ms to 5 s: exponential, and quick where the coordinator is just starting.
    /// Spread by a quarter either way, so that a cluster's workers do not come back all at once.
    /// </summary>
    /// <param name="outage">Since the first failure.</param>
    /// <param name="random">In [0, 1).</param>
    public static TimeSpan Delay(TimeSpan outage, double random) =>
        TimeSpan.FromTicks(Math.Clamp((long)(outage.Ticks * FractionOfOutage), Least.Ticks, Most.Ticks)) * (0.75 + 0.5 * random);
}
