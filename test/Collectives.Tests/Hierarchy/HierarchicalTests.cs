using MLDistributed.Collectives;
using MLDistributed.Collectives.Hierarchy;
using MLDistributed.Collectives.SharedMemory;

namespace Collectives.Tests.Hierarchy;

/// <summary>The contract on hosts of two ranks, and a last one of one where they are odd. Ranks are threads; the leaders meet in memory of their own, as they would over a network.</summary>
[TestClass]
public sealed class HierarchicalTests : CollectiveContract
{
    protected override IEnumerable<int> Worlds => Enumerable.Range(1, 5);

    [TestMethod]
    public void Create_InAnotherPlaceThanTheTopologys_IsRefused()
    {
        Ranks.RunCollective(1, local =>
        {
            var e = Assert.ThrowsExactly<ArgumentException>(() => new HierarchicalCollective(Topology.OfCpus(2, 1), 0, (SharedMemoryCollective)local, null));
            StringAssert.StartsWith(e.Message, "Rank 0 is 0 of 1 in its host's memory, expected 0 of 2.");
            e = Assert.ThrowsExactly<ArgumentException>(() => new HierarchicalCollective(Topology.OfCpus(2, 1), 2, (SharedMemoryCollective)local, null));
            StringAssert.StartsWith(e.Message, "Rank 2 is  of  leaders, expected 1 of 2.");
        }).ShouldSucceed();
    }

    protected override Exception?[] Run(int worldSize, Action<ICollective> body)
    {
        var topology = Hosts(worldSize);
        var path = Ranks.NewPath();
        return Ranks.Run(worldSize, rank =>
        {
            var host = topology.HostOf(rank);
            var local = new SharedMemoryCollective(SharedSegment.Join(Options($"{path}-{host}", topology.LocalRank(rank), topology.Hosts[host].RankCount)));
            var leaders = topology.IsLeader(rank) ? new SharedMemoryCollective(SharedSegment.Join(Options(path, host, topology.Hosts.Count))) : null;
            using var collective = new HierarchicalCollective(topology, rank, local, leaders);
            body(collective);
        });
    }

    protected override float Sum(float[] terms) =>
        Hosts(terms.Length).Hosts.Select(h => terms.Skip(h.FirstRank).Take(h.RankCount).Aggregate((a, b) => a + b)).Aggregate((a, b) => a + b);

    // Another host's ranks hear of it only by the end.
    protected override void ShouldMismatch(Exception?[] failures)
    {
        Assert.IsInstanceOfType<CollectiveMismatchException>(failures[0]);
        foreach (var failure in failures)
            Assert.IsTrue(failure is CollectiveMismatchException or CollectiveAbortedException, failure?.ToString() ?? "A rank succeeded.");
    }

    private static Topology Hosts(int worldSize) => Topology.OfCpus([.. Enumerable.Range(0, (worldSize + 1) / 2).Select(host => Math.Min(2, worldSize - 2 * host))]);

    private static SegmentOptions Options(string path, int rank, int worldSize) =>
        new() { Path = path, Rank = rank, WorldSize = worldSize, Timeout = Ranks.Bound, RendezvousTimeout = Ranks.Bound, StagingBytes = 4096 };
}
