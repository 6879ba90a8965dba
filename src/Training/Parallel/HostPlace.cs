using MLDistributed.Collectives;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Parallel;

/// <summary>A rank's place among the hosts of a job.</summary>
/// <param name="Topology">Where all ranks are.</param>
/// <param name="Rank">This one.</param>
/// <param name="MeetLeaders">Joins the leaders of all hosts, on a leader; disposed with the attempt.</param>
internal sealed record HostPlace(Topology Topology, int Rank, Func<ICollective> MeetLeaders)
{
    /// <summary>This host, of the topology's.</summary>
    public int Host => Topology.HostOf(Rank);

    /// <summary>This rank's number on its host.</summary>
    public int LocalRank => Topology.LocalRank(Rank);

    /// <summary>How many ranks its host has.</summary>
    public int LocalSize => Topology.Hosts[Host].RankCount;

    /// <summary>The place of a rank whose attempt is on several workers, the leaders of which meet over MPI.</summary>
    /// <param name="start">The rank.</param>
    /// <param name="workers">The way to the other leaders.</param>
    /// <param name="stop">Ends the wait for them.</param>
    public static HostPlace Of(RankStart start, IRendezvous workers, CancellationToken stop)
    {
        var topology = new Topology(start.Participants.Select(p => (p.Host, (IReadOnlyList<string>)[.. Enumerable.Repeat("cpu", p.Ranks)])));
        var options = new MpiOptions
        {
            Rank = topology.HostOf(start.Rank),
            WorldSize = topology.Hosts.Count,
            RunId = start.AttemptId,
            NetworkInterface = start.NetworkInterface,
            Topology = topology,
        };
        return new HostPlace(topology, start.Rank, () => MpiWorld.Join(options, workers, stop));
    }
}
