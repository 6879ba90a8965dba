using MLDistributed.Collectives;
using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Hierarchy;
using MLDistributed.Collectives.SharedMemory;

namespace MLDistributed.Training.Parallel;

/// <summary>The ranks that share this host's memory, and over it all ranks of the job.</summary>
internal sealed class HostRanks : IDisposable
{
    private readonly PeerWatch? _watch;

    private HostRanks(SharedMemoryCollective local, ICollective? leaders, ICollective all, PeerWatch? watch)
    {
        (Local, Leaders, All, _watch) = (local, leaders, all, watch);
        // Who waits for the one that is lost, here and elsewhere, waits no longer.
        watch?.Lost.Register(all.Abort);
    }

    /// <summary>Those of this host.</summary>
    public SharedMemoryCollective Local { get; }

    /// <summary>One a host, on a leader; null on others, and where all ranks are on this host.</summary>
    public ICollective? Leaders { get; }

    /// <summary>All.</summary>
    public ICollective All { get; }

    /// <summary>Meets the others.</summary>
    /// <param name="options">This host's memory.</param>
    /// <param name="place">Where this rank is; null: all ranks are on this host.</param>
    /// <param name="stop">Ends the wait for the host's other ranks.</param>
    public static HostRanks Meet(SegmentOptions options, HostPlace? place, CancellationToken stop)
    {
        var local = new SharedMemoryCollective(SharedSegment.Join(place is null ? options : options with { FirstRank = place.Topology.Hosts[place.Host].FirstRank }, stop));
        if (place is null)
            return new HostRanks(local, null, local, null);
        PeerWatch? watch = null;
        ICollective? leaders = null;
        try
        {
            watch = place.LocalRank == 0 ? place.Watch?.Invoke() : null;
            leaders = place.LocalRank == 0 ? place.MeetLeaders() : null;
            // The others wait for their leader here, and not with their first step's limit.
            local.Barrier(options.RendezvousTimeout);
            return new HostRanks(local, leaders, new HierarchicalCollective(place.Topology, place.Rank, local, leaders), watch);
        }
        catch
        {
            watch?.Dispose();
            leaders?.Abort();
            leaders?.Dispose();
            local.Abort();
            local.Dispose();
            throw;
        }
    }

    /// <summary>After the last step: returns when no other rank needs anything of this one's any more.</summary>
    public void Complete()
    {
        All.Barrier();
        _watch?.Leave();
    }

    public void Dispose()
    {
        _watch?.Dispose();
        All.Dispose();
    }
}
