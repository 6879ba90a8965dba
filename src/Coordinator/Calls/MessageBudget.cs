using Grpc.Core;

namespace MLDistributed.Coordinator.Calls;

/// <summary>
/// What the unfinished messages of one owner (a tenant, a worker, everybody without a key) may take of this process's memory
/// together. More of them wait: a whole message that was here at once needs nothing of it.
/// </summary>
internal sealed class MessageBudget
{
    private const long MaxBytes = 128 << 20; // two of the largest
    private const int LeastBytes = 16 << 10; // what an unfinished call costs besides
    private const int MaxWaiting = 64;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Share> _shares = new(StringComparer.Ordinal);

    /// <summary>Takes room, and gives it back when disposed.</summary>
    /// <param name="owner">Who sends the message.</param>
    /// <param name="bytes">Its length.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <exception cref="RpcException">Too many wait already.</exception>
    public async ValueTask<IDisposable> TakeAsync(string owner, long bytes, CancellationToken cancellation)
    {
        bytes = Math.Max(bytes, LeastBytes);
        Wait wait;
        lock (_gate)
        {
            if (!_shares.TryGetValue(owner, out var share))
                _shares.Add(owner, share = new Share());
            if (share.Waiting.Count == 0 && share.Taken + bytes <= MaxBytes)
            {
                share.Taken += bytes;
                return new Lease(this, owner, bytes);
            }

            if (share.Waiting.Count >= MaxWaiting)
                throw new RpcException(new Status(StatusCode.ResourceExhausted, $"This key's tenant has {share.Taken:N0} bytes of unfinished messages on their way and {MaxWaiting} more that wait, expected fewer calls at once. Try again when some have ended."));
            share.Waiting.AddLast(wait = new Wait(bytes));
        }

        try
        {
            await wait.Granted.Task.WaitAsync(cancellation).ConfigureAwait(false);
            return new Lease(this, owner, bytes);
        }
        catch (OperationCanceledException)
        {
            Abandon(owner, wait);
            throw;
        }
    }

    private void Abandon(string owner, Wait wait)
    {
        lock (_gate)
            if (_shares[owner].Waiting.Remove(wait))
            {
                Grant(owner);
                return;
            }

        GiveBack(owner, wait.Bytes); // it had been granted in this moment
    }

    private void GiveBack(string owner, long bytes)
    {
        lock (_gate)
        {
            _shares[owner].Taken -= bytes;
            Grant(owner);
        }
    }

    // First come, first served: a large message is not overtaken for ever.
    private void Grant(string owner)
    {
        var share = _shares[owner];
        while (share.Waiting.First is { Value: var next } && share.Taken + next.Bytes <= MaxBytes)
        {
            share.Waiting.RemoveFirst();
            share.Taken += next.Bytes;
            next.Granted.SetResult();
        }

        if (share is { Taken: 0, Waiting.Count: 0 })
            _shares.Remove(owner);
    }

    private sealed class Share
    {
        public long Taken { get; set; }

        public LinkedList<Wait> Waiting { get; } = [];
    }

    private sealed class Wait(long bytes)
    {
        public long Bytes => bytes;

        public TaskCompletionSource Granted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    private sealed class Lease(MessageBudget budget, string owner, long bytes) : IDisposable
    {
        private int _given;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _given, 1) == 0)
                budget.GiveBack(owner, bytes);
        }
    }
}
