namespace MLDistributed.Collectives.Mpi;

/// <summary>A rendezvous to which all come in time.</summary>
public static class BoundedRendezvous
{
    /// <summary>Gives every rank's text to every rank, as <see cref="IRendezvous.AllGather"/>, within <see cref="MpiOptions.RendezvousTimeout"/>.</summary>
    /// <exception cref="CollectiveTimeoutException">One did not come.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public static IReadOnlyList<string> AllGather(IRendezvous workers, string mine, MpiOptions options, CancellationToken stop)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        limit.CancelAfter(options.RendezvousTimeout);
        try
        {
            return workers.AllGather(mine, limit.Token);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            throw new CollectiveTimeoutException($"Rank {options.Describe(options.Rank)} waited {options.RendezvousTimeout.TotalSeconds:0.###} s for the other {options.WorldSize - 1} to meet, expected all to come. See why they did not.");
        }
    }
}
