namespace MLDistributed.Collectives.Mpi;

/// <summary>An MPI world, and this rank's place in it.</summary>
public sealed record MpiOptions
{
    /// <summary>This rank, from 0.</summary>
    public required int Rank { get; init; }

    /// <summary>How many ranks there are.</summary>
    public required int WorldSize { get; init; }

    /// <summary>What tells this world from others, such as the attempt's id: letters, digits, '-' and '_'.</summary>
    public string RunId { get; init; } = "run";

    /// <summary>The network interface to the other ranks, such as "eth1".</summary>
    /// <value>Empty: UCX chooses, which fails where hosts have an interface with the same address, as Docker's.</value>
    public string NetworkInterface { get; init; } = "";

    /// <summary>This machine's address on it, such as "10.1.0.1", to which the others send heartbeats.</summary>
    /// <value>Empty: there are none.</value>
    public string NetworkAddress { get; init; } = "";

    /// <summary>The first port that the others may connect to (TCP), or send heartbeats to (UDP).</summary>
    /// <value>7300</value>
    public int FirstPort { get; init; } = 7300;

    /// <summary>The last such port.</summary>
    /// <value>7399</value>
    public int LastPort { get; init; } = 7399;

    /// <summary>How long the ranks wait for one another to come.</summary>
    /// <value>60 seconds</value>
    public TimeSpan RendezvousTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long an operation waits while nothing comes. The last resort: a rank whose end is noticed is aborted for by others.</summary>
    /// <value>60 seconds</value>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How often a rank says that it is there.</summary>
    /// <value>0.5 seconds</value>
    public TimeSpan HeartbeatInterval { get; init; } = TimeSpan.FromSeconds(0.5);

    /// <summary>How long a rank may say nothing, until it is lost: several heartbeats, and what a busy or paused machine keeps a process from running.</summary>
    /// <value>5 seconds</value>
    public TimeSpan SilenceLimit { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Whose leaders the ranks are: messages then have the job's ranks, and the hosts' names.</summary>
    /// <value>null: the ranks are all there are.</value>
    public Topology? Topology { get; init; }

    // The same on all ranks. Smaller in tests, so that short values go all ways.
    internal int PieceBytes { get; init; } = 256 << 10;

    // Values up to here go along with the announcement of their operation: one way instead of three.
    internal int InlineBytes { get; init; } = 16 << 10;

    internal int Number(int rank) => Topology?.Hosts[rank].FirstRank ?? rank;

    internal string Describe(int rank) => Topology is null ? $"{rank}" : $"{Number(rank)} (host \"{Topology.Hosts[rank].Name}\")";

    internal void Validate()
    {
        if (WorldSize < 1)
            throw new CollectiveException($"World size is {WorldSize}, expected at least 1.");
        if (Rank < 0 || Rank >= WorldSize)
            throw new CollectiveException($"Rank is {Rank}, expected 0 to {WorldSize - 1}.");
        if (Topology is not null && Topology.Hosts.Count != WorldSize)
            throw new CollectiveException($"World size is {WorldSize}, expected {Topology.Hosts.Count}, one rank a host of the topology.");
        if (FirstPort < 1 || LastPort < FirstPort || LastPort > ushort.MaxValue)
            throw new CollectiveException($"Ports are {FirstPort} to {LastPort}, expected a range within 1 to {ushort.MaxValue}.");
        if (RunId.Length is 0 or > 128 || !RunId.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_'))
            throw new CollectiveException($"Run id \"{RunId}\" is no name for an MPI world, expected 1 to 128 letters, digits, '-' and '_'.");
    }
}
