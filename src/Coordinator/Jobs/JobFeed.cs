using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Jobs;

/// <summary>
/// A job's durable events, for any number of watchers. Watchers take what they have not seen when they are ready for
/// it, so that a slow one costs nothing but its own place in the list.
/// </summary>
internal sealed class JobFeed
{
    private readonly Lock _lock = new();
    private readonly List<JobEvent> _events = [];
    private readonly TaskCompletionSource _endedSource = NewSignal();
    private TaskCompletionSource _changed = NewSignal();
    private JobEvent? _waiting;
    private bool _ended;

    /// <summary>Completes when the last event is published.</summary>
    public Task Ended => _endedSource.Task;

    public void Publish(JobEvent jobEvent)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            _events.Add(jobEvent);
            if (_waiting?.Sequence < jobEvent.Sequence)
                _waiting = null;
            _ended |= jobEvent.State is { } state && JobStates.IsFinal(state.State);
            (changed, _changed) = (_changed, NewSignal());
        }

        changed.TrySetResult();
        if (_ended)
            _endedSource.TrySetResult();
    }

    /// <summary>Tells why the job waits: only the latest, to those who have seen all else, and only until the next event.</summary>
    public void Tell(JobEvent waiting)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            if (_waiting?.State.Reason == waiting.State.Reason || FirstAfter(waiting.Sequence) < _events.Count)
                return;
            _waiting = waiting;
            (changed, _changed) = (_changed, NewSignal());
        }

        changed.TrySetResult();
    }

    /// <summary>Forgets progress and log lines up to a sequence number.</summary>
    public void Prune(long lastSequence)
    {
        lock (_lock)
            _events.RemoveAll(e => e.Sequence <= lastSequence && JobStates.IsTransient(e));
    }

    /// <summary>The next events, at most <paramref name="limit"/>; none only when the feed has ended.</summary>
    /// <param name="afterSequence">What was read last.</param>
    /// <param name="limit">The most events.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <param name="told">The last event that was read, so that no reason is read twice.</param>
    public async Task<IReadOnlyList<JobEvent>> ReadAsync(long afterSequence, int limit, CancellationToken cancellation, JobEvent? told = null)
    {
        while (true)
        {
            Task changed;
            lock (_lock)
            {
                var first = FirstAfter(afterSequence);
                if (first < _events.Count)
                    return _events.GetRange(first, Math.Min(limit, _events.Count - first));
                if (_ended)
                    return [];
                if (_waiting is { } waiting && !ReferenceEquals(waiting, told) && waiting.Sequence == afterSequence)
                    return [waiting];
                changed = _changed.Task;
            }

            await changed.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    private int FirstAfter(long sequence)
    {
        var (low, high) = (0, _events.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_events[middle].Sequence <= sequence)
                low = middle + 1;
            else
                high = middle;
        }

        return low;
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
