using Grpc.Core;
using MLDistributed.Coordinator.Security;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Calls;

/// <summary>
/// What the unfinished messages of one owner (a tenant, a worker, everybody without a key), and of all owners together, may
/// take of this process's memory, in both directions: those that have not come, and those that are not read. A whole message
/// that was here at once needs nothing of it.
/// </summary>
/// <remarks>
/// An owner may have as much as is left for the others then (the dynamic thresholds of Choudhury and Hahne, 1998): one alone
/// half of all, n of them an n + 1-th each. Whoever has more waits or is refused; there is always room for who has less.
/// </remarks>
internal sealed class MessageBudget(CoordinatorOptions options)
{
    private const long MaxBytes = 128 << 20; // of one owner: two of the largest
    private const int LeastBytes = 16 << 10; // what an unfinished call costs besides
    private const int SmallBytes = 64 << 10; // of replies that need no room: so much a call takes anyway
    private const int MaxWaiting = 64;
    private static readonly TimeSpan s_longestWait = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_again = TimeSpan.FromSeconds(2);
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Share> _shares = new(StringComparer.Ordinal);
    private long _held;
    private int _waiting;

    /// <summary>What all of them hold.</summary>
    public long Held
    {
        get
        {
            lock (_gate)
                return _held;
        }
    }

    /// <summary>Takes room, and gives it back when disposed. What finds none waits for a while.</summary>
    /// <param name="owner">Who sends the message.</param>
    /// <param name="bytes">Its length.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <exception cref="RpcException">There is none: <see cref="Pushback"/>.</exception>
    public async ValueTask<IDisposable> TakeAsync(string owner, long bytes, CancellationToken cancellation)
    {
        var wait = new Wait(Math.Clamp(bytes, LeastBytes, Math.Min(MaxBytes, options.MaxUnfinishedBytes / 2)));
        lock (_gate)
        {
            var share = _shares.GetValueOrDefault(owner) ?? new Share();
            if (share.Waiting.Count == 0 && MayTake(share, wait.Bytes, wait.Bytes))
                Take(share, wait.Bytes);
            else if (share.Waiting.Count < MaxWaiting && LeavesAsMuch(share, wait.Held))
                Queue(share, wait);
            else
                throw Refused(share);
            _shares[owner] = share;
            if (!wait.IsQueued)
                return new Lease(this, owner, wait.Bytes);
        }

        try
        {
            await wait.Granted.Task.WaitAsync(s_longestWait, options.Time, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException or TimeoutException)
        {
            var refused = Abandon(owner, wait);
            if (e is TimeoutException)
                throw refused;
            throw;
        }

        return new Lease(this, owner, wait.Bytes);
    }

    /// <summary>Holds room for a large reply until its call is over; of callers over the Unix socket it is their own machine's.</summary>
    /// <param name="context">The call.</param>
    /// <param name="bytes">What the reply, and what it is made of, take.</param>
    /// <exception cref="RpcException">There is none: <see cref="Pushback"/>.</exception>
    public async Task HoldAsync(ServerCallContext context, long bytes)
    {
        if (bytes > SmallBytes && Caller.Of(context) is { IsLocal: false } caller)
            context.GetHttpContext().Response.RegisterForDispose(await TakeAsync(caller.Owner, bytes, context.CancellationToken).ConfigureAwait(false));
    }

    private bool MayTake(Share share, long bytes, long more) => share.Taken + bytes <= MaxBytes && LeavesAsMuch(share, more);

    private bool LeavesAsMuch(Share share, long more) => share.Held + more <= options.MaxUnfinishedBytes - _held - more;

    private void Take(Share share, long bytes)
    {
        share.Taken += bytes;
        Hold(share, bytes);
    }

    private void Queue(Share share, Wait wait)
    {
        wait.IsQueued = true;
        _waiting++;
        share.Waiting.AddLast(wait);
        Hold(share, wait.Held);
    }

    private void Unqueue(Share share, Wait wait)
    {
        _waiting--;
        Hold(share, -wait.Held);
    }

    private void Hold(Share share, long bytes)
    {
        share.Held += bytes;
        _held += bytes;
    }

    private Exception Abandon(string owner, Wait wait)
    {
        lock (_gate)
        {
            var share = _shares[owner];
            var refused = Refused(share);
            if (share.Waiting.Remove(wait))
                Unqueue(share, wait);
            else
                Take(share, -wait.Bytes); // it had been granted in this moment
            Grant(owner);
            return refused;
        }
    }

    private void GiveBack(string owner, long bytes)
    {
        lock (_gate)
        {
            Take(_shares[owner], -bytes);
            Grant(owner);
        }
    }

    // Who has least comes first; of one owner first come, first served, so that a large message is not overtaken for ever.
    private void Grant(string owner)
    {
        if (_shares[owner].Held == 0)
            _shares.Remove(owner);
        if (_waiting == 0)
            return;
        foreach (var share in _shares.Values.Where(s => s.Waiting.Count > 0).OrderBy(s => s.Held).ToList())
            while (share.Waiting.First is { Value: var next } && MayTake(share, next.Bytes, next.Bytes - next.Held))
            {
                share.Waiting.RemoveFirst();
                Unqueue(share, next);
                Take(share, next.Bytes);
                next.Granted.SetResult();
            }
    }

    private Exception Refused(Share share) => Pushback.Refusal(
        $"This caller has {share.Held:N0} bytes of unfinished messages on their way, {share.Waiting.Count} of which wait, and all callers {_held:N0}, expected at most {MaxBytes:N0} of one and {options.MaxUnfinishedBytes:N0} of all, of which one may have what it leaves to the others. Try again in {s_again.TotalSeconds:0} s, with fewer calls at once.", s_again);

    private sealed class Share
    {
        public long Taken { get; set; }

        /// <summary>With what came already of those that wait.</summary>
        public long Held { get; set; }

        public LinkedList<Wait> Waiting { get; } = [];
    }

    private sealed class Wait(long bytes)
    {
        public long Bytes => bytes;

        /// <summary>What comes of it before it is read on: what its stream's window lets.</summary>
        public long Held { get; } = Math.Min(bytes, Hosting.Listening.StreamWindowBytes);

        public bool IsQueued { get; set; }

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
