using System.Diagnostics;

namespace MLDistributed.Collectives.Mpi;

/// <summary>
/// How a rank waits between looks at MPI: it spins for a moment, then yields the core, which another rank may need to
/// send what this one waits for, then sleeps. An abort, its own or another's, ends every wait.
/// </summary>
internal sealed class MpiPatience
{
    private static readonly long s_spinTicks = Stopwatch.Frequency * 20 / 1_000_000;
    private static readonly long s_yieldTicks = Stopwatch.Frequency * 10 / 1_000;

    private readonly IRendezvous _rendezvous;
    private readonly int _rank;
    private readonly ManualResetEventSlim _wake = new(initialState: false, spinCount: 0);
    private int _aborted;

    public MpiPatience(IRendezvous rendezvous, int rank)
    {
        (_rendezvous, _rank) = (rendezvous, rank);
        _ = rendezvous.Aborted.ContinueWith(t => Fall(t.Result), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }

    public bool IsAborted => Volatile.Read(ref _aborted) != 0 || _rendezvous.Aborted.IsCompletedSuccessfully;

    /// <summary>Ends the waits of all ranks, from any thread.</summary>
    public void Abort()
    {
        if (Fall(_rank))
            _rendezvous.Abort(_rank);
    }

    public void ThrowIfAborted()
    {
        if (_rendezvous.Aborted.IsCompletedSuccessfully)
            Fall(_rendezvous.Aborted.Result);
        var aborted = Volatile.Read(ref _aborted);
        if (aborted != 0)
            throw new CollectiveAbortedException($"Rank {_rank} was stopped because rank {aborted - 1} aborted.");
    }

    public Wait Begin(TimeSpan timeout) => new(this, timeout);

    private bool Fall(int rank)
    {
        var isFirst = Interlocked.CompareExchange(ref _aborted, 1 + rank, 0) == 0;
        _wake.Set();
        return isFirst;
    }

    /// <summary>One wait.</summary>
    public readonly struct Wait(MpiPatience patience, TimeSpan timeout)
    {
        private readonly long _began = Stopwatch.GetTimestamp();

        /// <summary>A moment; longer ones the longer it has taken.</summary>
        /// <returns>False: the time is over.</returns>
        public bool Pause()
        {
            var waited = Stopwatch.GetTimestamp() - _began;
            if (waited < s_spinTicks)
                return true;
            if (waited < s_yieldTicks)
            {
                Thread.Yield();
                return true;
            }

            patience._wake.Wait(millisecondsTimeout: 1);
            return Stopwatch.GetElapsedTime(_began) < timeout;
        }
    }
}
