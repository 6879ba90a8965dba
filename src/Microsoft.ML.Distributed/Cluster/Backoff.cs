using Grpc.Core;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// The waits between attempts: 50 ms doubled up to 2 s, each shortened at random by up to a half so that clients of a
/// restarted coordinator do not come in step; over when nothing succeeded for the given time since the first failure, or
/// since the start. Time in which this process was stopped does not count.
/// </summary>
internal sealed class Backoff(TimeSpan limit, TimeProvider time, bool countsFromStart = false) : IDisposable
{
    private static readonly TimeSpan s_first = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(2);
    private TimeSpan _next = s_first;
    private readonly AwakeStopwatch _since = new(time);

    /// <summary>Failed attempts since the last success.</summary>
    public int Attempts { get; private set; }

    /// <summary>Time since the first of them, or the start.</summary>
    public TimeSpan Spent => Attempts == 0 && !countsFromStart ? TimeSpan.Zero : _since.Elapsed;

    /// <summary>What is left of the time.</summary>
    public TimeSpan Left => limit > Spent ? limit - Spent : TimeSpan.Zero;

    public void Dispose() => _since.Dispose();

    public void Succeeded()
    {
        Attempts = 0;
        _next = s_first;
    }

    /// <summary>Counts a failed attempt; false when the time is over, else true when the next may start.</summary>
    /// <param name="failure">How it failed: the other side may have said how long to wait at least. Null: the stream just ended.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public async Task<bool> WaitAsync(RpcException? failure, CancellationToken cancellation)
    {
        if (Attempts++ == 0 && !countsFromStart)
            _since.Restart();
        var left = Left;
        if (left == TimeSpan.Zero)
            return false;
        var wait = _next * (0.5 + (0.5 * Random.Shared.NextDouble()));
        if (failure is not null && Pushback.Of(failure) is { } asked)
            wait += asked;
        await Task.Delay(wait < left ? wait : left, time, cancellation).ConfigureAwait(false);
        _next = _next * 2 < s_longest ? _next * 2 : s_longest;
        return true;
    }
}
