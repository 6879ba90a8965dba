namespace Microsoft.ML.Distributed;

/// <summary>
/// The waits between attempts: 50 ms doubled up to 2 s, each shortened at random by up to a half so that clients of a
/// restarted coordinator do not come in step; over when nothing succeeded for the given time since the first failure.
/// </summary>
internal sealed class Backoff(TimeSpan limit, TimeProvider time)
{
    private static readonly TimeSpan s_first = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(2);
    private TimeSpan _next = s_first;
    private long _firstFailure = time.GetTimestamp();

    /// <summary>Failed attempts since the last success.</summary>
    public int Attempts { get; private set; }

    /// <summary>Time since the first of them.</summary>
    public TimeSpan Spent => Attempts == 0 ? TimeSpan.Zero : time.GetElapsedTime(_firstFailure);

    public void Succeeded()
    {
        Attempts = 0;
        _next = s_first;
    }

    /// <summary>Counts a failed attempt; false when the time is over, else true when the next may start.</summary>
    public async Task<bool> WaitAsync(CancellationToken cancellation)
    {
        if (Attempts++ == 0)
            _firstFailure = time.GetTimestamp();
        var left = limit - Spent;
        if (left <= TimeSpan.Zero)
            return false;
        var wait = _next * (0.5 + (0.5 * Random.Shared.NextDouble()));
        await Task.Delay(wait < left ? wait : left, time, cancellation).ConfigureAwait(false);
        _next = _next * 2 < s_longest ? _next * 2 : s_longest;
        return true;
    }
}
