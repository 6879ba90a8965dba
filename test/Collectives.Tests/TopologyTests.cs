using MLDistributed.Collectives;

namespace Collectives.Tests;

[TestClass]
public sealed class TopologyTests
{
    [TestMethod]
    [DataRow(new[] { 1 }, "0", "0", "0")]
    [DataRow(new[] { 3 }, "000", "012", "0")]
    [DataRow(new[] { 2, 2 }, "0011", "0101", "02")]
    [DataRow(new[] { 3, 1 }, "0001", "0120", "03")]
    [DataRow(new[] { 1, 1, 2 }, "0122", "0001", "012")]
    public void Ranks_OfHosts_AreNumberedHostByHost(int[] hosts, string hostOf, string localRank, string leaders)
    {
        var topology = Topology.OfCpus(hosts);
        var ranks = Enumerable.Range(0, hosts.Sum()).ToArray();
        Assert.AreEqual(ranks.Length, topology.WorldSize);
        Assert.AreEqual(hostOf, string.Concat(ranks.Select(topology.HostOf)));
        Assert.AreEqual(localRank, string.Concat(ranks.Select(topology.LocalRank)));
        Assert.AreEqual(leaders, string.Concat(topology.Leaders.Ranks));
        Assert.AreEqual(leaders, string.Concat(ranks.Where(topology.IsLeader)));
        CollectionAssert.AreEqual(ranks, topology.DataParallel.Ranks.ToArray());
        CollectionAssert.AreEqual(ranks, Enumerable.Range(0, hosts.Length).SelectMany(h => topology.OnHost(h).Ranks).ToArray());
        foreach (var rank in ranks)
        {
            Assert.AreEqual(topology.LocalRank(rank), topology.OnHost(topology.HostOf(rank)).IndexOf(rank));
            Assert.AreEqual(topology.IsLeader(rank) ? topology.HostOf(rank) : -1, topology.Leaders.IndexOf(rank));
        }
    }

    [TestMethod, DataRow(-1), DataRow(4)]
    public void HostOf_ARankThatIsNone_Throws(int rank) => Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => Topology.OfCpus(2, 2).HostOf(rank));

    [TestMethod]
    public void Create_WithoutHostsOrRanks_OrTwiceTheSame_IsRefused()
    {
        StringAssert.StartsWith(Assert.ThrowsExactly<ArgumentException>(() => new Topology([])).Message, "A topology has no hosts");
        StringAssert.StartsWith(Assert.ThrowsExactly<ArgumentException>(() => Topology.OfCpus(2, 0)).Message, "Host \"1\" has no ranks");
        StringAssert.StartsWith(Assert.ThrowsExactly<ArgumentException>(() => new Topology([("a", ["cpu"]), ("a", ["cuda:0"])])).Message, "Host \"a\" comes twice");
    }

    [TestMethod]
    public void Devices_OfHosts_AreKeptByRank()
    {
        var topology = new Topology([("a", ["cuda:0", "cuda:1"]), ("b", ["cpu"])]);
        Assert.AreEqual(("b", 2, 1, "cpu"), (topology.Hosts[1].Name, topology.Hosts[1].FirstRank, topology.Hosts[1].RankCount, topology.Hosts[1].Devices[0]));
        Assert.AreEqual("host b", topology.OnHost(1).Name);
    }
}
