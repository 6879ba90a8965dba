namespace MLDistributed.Collectives;

/// <summary>A host of a job.</summary>
/// <param name="Name">As messages call it.</param>
/// <param name="FirstRank">Its first rank in the job: the host's leader.</param>
/// <param name="Devices">What each of its ranks computes on, such as "cpu" or "cuda:1".</param>
public sealed record TopologyHost(string Name, int FirstRank, IReadOnlyList<string> Devices)
{
    /// <summary>How many ranks it has.</summary>
    public int RankCount => Devices.Count;
}

/// <summary>Ranks that meet in collectives of their own, such as those of one host. A rank's number in the group is its place.</summary>
/// <param name="Name">As messages call it.</param>
/// <param name="Ranks">The job's ranks that are in it, rising.</param>
public sealed record ProcessGroup(string Name, IReadOnlyList<int> Ranks)
{
    /// <summary>A rank's number in the group; -1: it is not in it.</summary>
    public int IndexOf(int rank)
    {
        for (var i = 0; i < Ranks.Count; i++)
        {
            if (Ranks[i] == rank)
                return i;
        }

        return -1;
    }
}

/// <summary>Which ranks of a job are on which host. Ranks are numbered host by host, so that those of one host are neighbours.</summary>
public sealed class Topology
{
    /// <summary>Numbers the ranks of some hosts.</summary>
    /// <param name="hosts">The hosts in their order, and what each of their ranks computes on.</param>
    /// <exception cref="ArgumentException">There is no host, one has no rank, or two have the same name.</exception>
    public Topology(IEnumerable<(string Name, IReadOnlyList<string> Devices)> hosts)
    {
        var all = new List<TopologyHost>();
        foreach (var (name, devices) in hosts)
        {
            if (devices.Count == 0)
                throw new ArgumentException($"Host \"{name}\" has no ranks, expected at least 1.", nameof(hosts));
            if (all.Any(h => h.Name == name))
                throw new ArgumentException($"Host \"{name}\" comes twice, expected each host once, with all of its ranks.", nameof(hosts));
            all.Add(new TopologyHost(name, WorldSize, devices));
            WorldSize += devices.Count;
        }

        if (all.Count == 0)
            throw new ArgumentException("A topology has no hosts, expected at least 1.", nameof(hosts));
        Hosts = all;
    }

    /// <summary>The hosts, in the order of their ranks.</summary>
    public IReadOnlyList<TopologyHost> Hosts { get; }

    /// <summary>How many ranks there are.</summary>
    public int WorldSize { get; }

    /// <summary>All ranks, which split a global batch.</summary>
    public ProcessGroup DataParallel => new("data-parallel", [.. Enumerable.Range(0, WorldSize)]);

    /// <summary>One rank a host: those that meet over the network.</summary>
    public ProcessGroup Leaders => new("leaders", [.. Hosts.Select(h => h.FirstRank)]);

    /// <summary>Hosts with as many CPU ranks as the numbers say, called "0", "1", ...</summary>
    public static Topology OfCpus(params int[] ranksOfHosts) =>
        new(ranksOfHosts.Select((count, host) => (host.ToString(System.Globalization.CultureInfo.InvariantCulture), (IReadOnlyList<string>)[.. Enumerable.Repeat("cpu", count)])));

    /// <summary>Which host a rank is on.</summary>
    /// <returns>Its place in <see cref="Hosts"/>.</returns>
    public int HostOf(int rank)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rank);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(rank, WorldSize);
        var host = 0;
        while (rank >= Hosts[host].FirstRank + Hosts[host].RankCount)
            host++;
        return host;
    }

    /// <summary>A rank's number on its host.</summary>
    public int LocalRank(int rank) => rank - Hosts[HostOf(rank)].FirstRank;

    /// <summary>Whether a rank speaks for its host.</summary>
    public bool IsLeader(int rank) => LocalRank(rank) == 0;

    /// <summary>The ranks of one host, which share its memory.</summary>
    /// <param name="host">Its place in <see cref="Hosts"/>.</param>
    public ProcessGroup OnHost(int host) => new($"host {Hosts[host].Name}", [.. Enumerable.Range(Hosts[host].FirstRank, Hosts[host].RankCount)]);
}
