using MLDistributed.Collectives;

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
}
