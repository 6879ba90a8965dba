using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Parallel;

namespace Training.Tests.Loop;

/// <summary>Hosts whose ranks are threads, and whose leaders meet in memory of their own.</summary>
internal static class MemoryHosts
{
    /// <summary>Ranks of each host, as "2+1".</summary>
    public static Topology Of(string ranks) => Topology.OfCpus([.. ranks.Split('+').Select(int.Parse)]);

    /// <summary>Where a rank is.</summary>
    /// <param name="folder">Where the leaders meet.</param>
    /// <param name="topology">The hosts.</param>
    /// <param name="onAllReduce">Hears of each of a leader's sums: its host, and how many it has begun.</param>
    /// <param name="words">What leaders tell one another before; null: they have nothing to.</param>
    public static Func<RankStart, HostPlace> Places(TempFolder folder, Topology topology, Action<int, int>? onAllReduce = null, LeadersWords? words = null) => start =>
    {
        var host = topology.HostOf(start.Rank);
        start.SegmentPath += $"-host{host}";
        return new HostPlace(topology, start.Rank, mine => words!.Tell(host, mine), () => new DelayedTransport(
            new SharedMemoryCollective(SharedSegment.Join(new SegmentOptions { Path = folder["leaders"], Rank = host, WorldSize = topology.Hosts.Count, RunId = "leaders" })), TimeSpan.Zero)
        {
            OnAllReduce = count => onAllReduce?.Invoke(host, count),
        });
    };
}

/// <summary>What the leaders of hosts tell one another, round by round.</summary>
internal sealed class LeadersWords
{
    private readonly string[] _told;
    private readonly Barrier _meeting;
    private string[] _round = [];

    public LeadersWords(Topology topology)
    {
        _told = new string[topology.Hosts.Count];
        _meeting = new Barrier(_told.Length, _ => _round = [.. _told]);
    }

    public IReadOnlyList<string> Tell(int host, string mine)
    {
        _told[host] = mine;
        return _meeting.SignalAndWait(Cluster.Bound) ? _round : throw new TimeoutException("A leader does not come.");
    }
}
