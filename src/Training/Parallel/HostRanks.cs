using MLDistributed.Collectives;
using MLDistributed.Collectives.Hierarchy;
using MLDistributed.Collectives.SharedMemory;

namespace MLDistributed.Training.Parallel;

/// <summary>The ranks that share this host's memory, and over it all ranks of the job.</summary>
/// <param name="Local">Those of this host.</param>
/// <param name="Leaders">One a host, on a leader; null on others, and where all ranks are on this host.</param>
/// <param name="All">All; disposed by whoever has these.</param>
internal sealed record HostRanks(SharedMemoryCollective Local, ICollective? Leaders, ICollective All)
{
    /// <summary>Meets the others.</summary>
    /// <param name="options">This host's memory.</param>
    /// <param name="place">Where this rank is; null: all ranks are on this host.</param>
    /// <param name="stop">Ends the wait for the host's other ranks.</param>
    public static HostRanks Meet(SegmentOptions options, HostPlace? place, CancellationToken stop)
    {
        var local = new SharedMemoryCollective(SharedSegment.Join(place is null ? options : options with { FirstRank = place.Topology.Hosts[place.Host].FirstRank }, stop));
        if (place is null)
            return new HostRanks(local, null, local);
        try
        {
            var leaders = place.LocalRank == 0 ? place.MeetLeaders() : null;
            // The others wait for their leader here, and not with their first step's limit.
            local.Barrier(options.RendezvousTimeout);
            return new HostRanks(local, leaders, new HierarchicalCollective(place.Topology, place.Rank, local, leaders));
        }
        catch
        {
            local.Abort();
            local.Dispose();
            throw;
        }
    }
}
