using MLDistributed.Collectives;
using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using MLDistributed.Training.Native;

namespace MLDistributed.Training.Parallel;

/// <summary>A rank's place among the hosts of a job.</summary>
/// <param name="Topology">Where all ranks are.</param>
/// <param name="Rank">This one.</param>
/// <param name="TellLeaders">Gives the text of each host's leader to all leaders, in the order of the hosts, before they meet; on a leader.</param>
/// <param name="MeetLeaders">Joins the leaders of all hosts, on a leader; disposed with the attempt.</param>
internal sealed record HostPlace(Topology Topology, int Rank, Func<string, IReadOnlyList<string>> TellLeaders, Func<ICollective> MeetLeaders)
{
    /// <summary>Begins to tell the other leaders that this one is there, and to listen to them, on a leader, before they meet; disposed with the attempt.</summary>
    /// <value>null: they do not.</value>
    public Func<PeerWatch>? Watch { get; init; }

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
        var options = OptionsOf(start);
        var topology = options.Topology!;
        return new HostPlace(topology, start.Rank, Tell, () =>
        {
            if (start.Spec.BitExact is not null)
                RequireOneKind(topology, Tell(CpuKind.Here));
            return MpiWorld.Join(options, workers, stop);
        })
        {
            Watch = () => PeerWatch.Begin(options, Tell, workers, stop),
        };

        IReadOnlyList<string> Tell(string mine) => BoundedRendezvous.AllGather(workers, mine, options, stop);
    }

    /// <summary>The world of the first ranks of an attempt's workers, and the place of this worker's in it.</summary>
    /// <param name="start">Any of its ranks.</param>
    public static MpiOptions OptionsOf(RankStart start)
    {
        var topology = new Topology(start.Participants.Select(p => (p.Host, (IReadOnlyList<string>)[.. Enumerable.Repeat(start.Device == DeviceKind.Cuda ? "cuda" : "cpu", p.Ranks)])));
        return new MpiOptions
        {
            Rank = topology.HostOf(start.Rank),
            WorldSize = topology.Hosts.Count,
            RunId = start.AttemptId,
            NetworkInterface = start.NetworkInterface,
            NetworkAddress = start.NetworkAddress,
            FirstPort = start.FirstNetworkPort,
            LastPort = start.LastNetworkPort,
            Topology = topology,
        };
    }

    /// <summary>The same bits come from the same kernels: those of processors of one kind.</summary>
    /// <param name="topology">The hosts.</param>
    /// <param name="kinds">Their processors', in the same order.</param>
    /// <exception cref="FormatException">They are of several; the message names two hosts.</exception>
    public static void RequireOneKind(Topology topology, IReadOnlyList<string> kinds)
    {
        for (var host = 1; host < kinds.Count; host++)
            if (kinds[host] != kinds[0])
                throw new FormatException(
                    $"Host \"{topology.Hosts[0].Name}\" has processors of kind {kinds[0]}, host \"{topology.Hosts[host].Name}\" of kind {kinds[host]}, expected one kind for Reproducibility.BitExact: " +
                    "other processors add in another order. Use Reproducibility.UpToRounding, or workers of one kind.");
    }
}
