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
    private bool _ended;

    /// <summary>Completes when the last event is published.</summary>
    public Task Ended => _endedSource.Task;

    public void Publish(JobEvent jobEvent)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            _events.Add(jobEvent);
            _ended |= jobEvent.State is { } state && JobStates.IsFinal(state.State);
            (changed, _changed) = (_changed, NewSignal());
        }

        changed.TrySetResult();
        if (_ended)
            _endedSource.TrySetResult();
    }

    /// <summary>Forgets progress and log lines up to a sequence number.</summary>
    public void Prune(long lastSequence)
    {
        lock (_lock)
            _events.RemoveAll(e => e.Sequence <= lastSequence && JobStates.IsTransient(e));
    }

    /// <summary>The next events, at most <paramref name="limit"/>; none only when the feed has ended.</summary>
    public async Task<IReadOnlyList<JobEvent>> ReadAsync(long afterSequence, int limit, CancellationToken cancellation)
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
