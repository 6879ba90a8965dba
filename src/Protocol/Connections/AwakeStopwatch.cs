namespace MLDistributed.Protocol;

/// <summary>
/// How long one has waited for another, of the time in which this process ran. When it was stopped, or its machine suspended,
/// it starts anew: what came meanwhile has not been heard yet, and nobody is judged before it is.
/// </summary>
public sealed class AwakeStopwatch : IDisposable
{
    private static readonly TimeSpan s_beat = TimeSpan.FromMilliseconds(500);

    // A machine with more to do than it can is late by less.
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(3);
    private readonly TimeProvider _time;
    private readonly ITimer _beats;
    private readonly Lock _gate = new();
    private long _start;
    private long _lastBeat;

    /// <summary>Starts.</summary>
    /// <param name="time">The clock.</param>
    public AwakeStopwatch(TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(time);
        _time = time;
        _start = _lastBeat = time.GetTimestamp();
        _beats = time.CreateTimer(static watch => ((AwakeStopwatch)watch!).Beat(), this, s_beat, s_beat);
    }

    /// <summary>Time since the start, or the last pause.</summary>
    public TimeSpan Elapsed
    {
        get
        {
            lock (_gate)
            {
                BeatLocked();
                return _time.GetElapsedTime(_start);
            }
        }
    }

    /// <summary>Starts anew.</summary>
    public void Restart()
    {
        lock (_gate)
            _start = _lastBeat = _time.GetTimestamp();
    }

    /// <inheritdoc/>
    public void Dispose() => _beats.Dispose();

    private void Beat()
    {
        lock (_gate)
            BeatLocked();
    }

    private void BeatLocked()
    {
        var now = _time.GetTimestamp();
        if (_time.GetElapsedTime(_lastBeat, now) > s_pause)
            _start = now;
        _lastBeat = now;
    }
}
