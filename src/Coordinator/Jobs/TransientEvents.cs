namespace MLDistributed.Coordinator.Jobs;

/// <summary>The numbers and sizes of a job's progress and log events, of which only the latest are kept.</summary>
internal sealed class TransientEvents
{
    private const int CountKept = 1000;
    private const long BytesKept = 8 << 20;
    private const int Slack = 4; // pruning one by one would double the writes: only beyond a quarter more
    private readonly Queue<(long Sequence, int Bytes)> _events = [];
    private long _bytes;

    public void Add(long sequence, int bytes)
    {
        _events.Enqueue((sequence, bytes));
        _bytes += bytes;
    }

    /// <summary>Drops the oldest of too many, and returns the number of the last one dropped; null: they are not too many.</summary>
    public long? Prune()
    {
        if (_events.Count <= CountKept + CountKept / Slack && _bytes <= BytesKept + BytesKept / Slack)
            return null;
        long? last = null;
        while (_events.Count > CountKept || _bytes > BytesKept)
        {
            var (sequence, bytes) = _events.Dequeue();
            (last, _bytes) = (sequence, _bytes - bytes);
        }

        return last;
    }
}
