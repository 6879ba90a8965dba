using MLDistributed.Protocol;

namespace MLDistributed.Worker.Connections;

/// <summary>
/// What the coordinator is to hear, in order, kept while there is no connection. Progress and log lines are dropped,
/// oldest first, when they are too many, and so are the ends of epochs, which the result has all of; the rest never. The stream has no acknowledgements, so what was sent shortly
/// before a connection broke is sent again on the next: the coordinator takes the same message twice.
/// </summary>
internal sealed class Outbox(TimeProvider time, int maxDroppable = 1000, int maxEpochs = 10_000)
{
    /// <summary>Longer than a dead connection stays unnoticed (keep-alive pings: 20 s).</summary>
    public static readonly TimeSpan SentMayBeLost = TimeSpan.FromSeconds(30);

    private readonly Lock _gate = new();
    private readonly LinkedList<WorkerMessage> _pending = [];
    private readonly Queue<(WorkerMessage Message, long Sent)> _recent = new();
    private readonly SemaphoreSlim _signal = new(0);
    private TaskCompletionSource? _drained;
    private readonly Dictionary<Kind, int> _counts = new() { [Kind.Passing] = 0, [Kind.Epoch] = 0, [Kind.Lasting] = 0 };

    private enum Kind { Lasting, Epoch, Passing }

    /// <summary>Completes when nothing waits to be sent.</summary>
    public Task Drained
    {
        get
        {
            lock (_gate)
                return _pending.Count == 0 ? Task.CompletedTask : (_drained ??= new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    public void Post(WorkerMessage message)
    {
        WireRules.Clip(message); // what a rank said may be of any length, and would be refused
        lock (_gate)
        {
            var kind = KindOf(message);
            if (++_counts[kind] > kind switch { Kind.Passing => maxDroppable, Kind.Epoch => maxEpochs, _ => int.MaxValue })
                RemoveOldest(kind);
            _pending.AddLast(message);
        }

        _signal.Release();
    }

    /// <summary>Attempts whose end the coordinator may not have heard of.</summary>
    public IReadOnlyList<string> UnreportedEnds()
    {
        lock (_gate)
        {
            ForgetOld();
            return [.. _recent.Select(r => r.Message).Concat(_pending).Select(m => m.AttemptEnded?.AttemptId).OfType<string>().Distinct(StringComparer.Ordinal)];
        }
    }

    /// <summary>A connection broke: what was sent shortly before may be lost, and goes first on the next.</summary>
    public void Rewind()
    {
        lock (_gate)
        {
            ForgetOld();
            foreach (var (message, _) in _recent.Reverse())
            {
                _pending.AddFirst(message);
                _counts[KindOf(message)]++;
            }

            _recent.Clear();
        }
    }

    /// <summary>Sends all that comes, one at a time; a message leaves the box when it was sent.</summary>
    public async Task PumpAsync(Func<WorkerMessage, Task> send, CancellationToken cancellation)
    {
        while (true)
        {
            await FlushAsync(send).ConfigureAwait(false);
            await _signal.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    private async Task FlushAsync(Func<WorkerMessage, Task> send)
    {
        while (Peek() is { } message)
        {
            await send(message).ConfigureAwait(false);
            lock (_gate)
            {
                // Not the first any more when it was dropped meanwhile.
                if (_pending.Remove(message))
                    _counts[KindOf(message)]--;
                if (KindOf(message) != Kind.Passing)
                    _recent.Enqueue((message, time.GetTimestamp()));
                ForgetOld();
                if (_pending.Count == 0)
                {
                    _drained?.SetResult();
                    _drained = null;
                }
            }
        }
    }

    private WorkerMessage? Peek()
    {
        lock (_gate)
            return _pending.First?.Value;
    }

    private void ForgetOld()
    {
        while (_recent.TryPeek(out var oldest) && time.GetElapsedTime(oldest.Sent) > SentMayBeLost)
            _recent.Dequeue();
    }

    private void RemoveOldest(Kind kind)
    {
        for (var node = _pending.First; node is not null; node = node.Next)
        {
            if (KindOf(node.Value) != kind)
                continue;
            _pending.Remove(node);
            _counts[kind]--;
            return;
        }
    }

    private static Kind KindOf(WorkerMessage message) =>
        message.Heartbeat is not null || message.AttemptEvent is { EventCase: AttemptEvent.EventOneofCase.Progress or AttemptEvent.EventOneofCase.Log } ? Kind.Passing
        : message.AttemptEvent?.Epoch is not null ? Kind.Epoch : Kind.Lasting;
}
