using System.Net;
using System.Net.NetworkInformation;
using MLDistributed.Worker;
using MLDistributed.Worker.Networks;

namespace Worker.Tests.Networks;

[TestClass]
public sealed class WorkerNetworkTests
{
    private static readonly NetworkLink[] s_links =
    [
        new("lo", true, [new(IPAddress.Loopback, 8)]),
        new("eth0", true, [new(IPAddress.Parse("10.0.0.7"), 24)]),
        new("eth1", false, [new(IPAddress.Parse("10.1.0.7"), 16)]),
        new("eth2", true, []),
    ];

    // As clouds and tunnels have them.
    private static readonly NetworkLink[] s_narrow =
    [
        new("ens4", true, [new(IPAddress.Parse("10.2.0.7"), 32)]),
        new("wg0", true, [new(IPAddress.Parse("10.3.0.6"), 31)]),
    ];

    [TestMethod]
    [DataRow("eth0", "eth0 10.0.0.7 ")]
    [DataRow("10.0.0.0/16", "eth0 10.0.0.7 ")]
    [DataRow("eth1", "eth1 10.1.0.7 interface \"eth1\" has no link")]
    [DataRow("10.1.0.0/16", "eth1 10.1.0.7 interface \"eth1\" has no link")]
    [DataRow("eth2", "eth2  interface \"eth2\" has no IPv4 address")]
    [DataRow("eth9", "  no interface is, or has an address of, \"eth9\" (--network); there are \"lo\" (127.0.0.1), \"eth0\" (10.0.0.7), \"eth1\" (10.1.0.7), \"eth2\" ()")]
    public void Look_NamesTheInterfaceOrWhyThereIsNone(string asked, string expected)
    {
        var network = new WorkerNetwork(asked, PortRange.Default, "MPICH 4", mpiFault: null, () => s_links).Look();

        Assert.AreEqual(expected, $"{network.Interface} {network.Address} {network.Fault}");
    }

    [TestMethod]
    [DataRow("eth0", "10.0.0.9", null, DisplayName = "an interface's own network")]
    [DataRow("eth0", "10.0.1.9", "in 10.0.0.0/24 (\"eth0\")", DisplayName = "behind a router")]
    [DataRow("10.0.0.0/16", "10.0.1.9", null, DisplayName = "a range that holds both")]
    [DataRow("10.0.0.0/16", "10.1.0.9", "in 10.0.0.0/16 (\"10.0.0.0/16\")", DisplayName = "another network of this machine")]
    [DataRow("eth1", "10.1.255.1", null)]
    [DataRow("eth0", "127.0.0.1", "in 10.0.0.0/24 (\"eth0\")", DisplayName = "this machine itself")]
    [DataRow("eth0", "::1", "in 10.0.0.0/24 (\"eth0\")")]
    [DataRow("eth2", "10.0.0.9", "in no network, as its interface is gone (\"eth2\")")]
    [DataRow("eth9", "10.0.0.9", "in no network, as its interface is gone (\"eth9\")")]
    public void WhyNotOn_OfAnothersAddress_NamesTheNetworkItIsNotOf(string asked, string address, string? expected) =>
        Assert.AreEqual(expected, new WorkerNetwork(asked, PortRange.Default, "MPICH 4", mpiFault: null, () => s_links).WhyNotOn(IPAddress.Parse(address)));

    [TestMethod]
    [DataRow("ens4", "10.2.0.9", null)]
    [DataRow("wg0", "10.3.0.9", null)]
    [DataRow("ens4", "127.0.0.1", "in 10.2.0.7/32 (\"ens4\")")]
    [DataRow("ens4", "::1", "in 10.2.0.7/32 (\"ens4\")")]
    [DataRow("10.2.0.7/32", "10.2.0.9", "in 10.2.0.7/32 (\"10.2.0.7/32\")", DisplayName = "a range that the operator has named")]
    public void WhyNotOn_OfAnInterfaceWithoutANetwork_LetsAnybodyIn(string asked, string address, string? expected) =>
        Assert.AreEqual(expected, new WorkerNetwork(asked, PortRange.Default, "MPICH 4", mpiFault: null, () => s_narrow).WhyNotOn(IPAddress.Parse(address)));

    [TestMethod]
    public void WhyNotOn_WhereInterfacesCannotBeListed_SaysSo()
    {
        var network = new WorkerNetwork("eth0", PortRange.Default, "MPICH 4", mpiFault: null, () => throw new NetworkInformationException(5));

        StringAssert.StartsWith(network.WhyNotOn(IPAddress.Parse("10.0.0.9")), "of \"eth0\", whose networks cannot be read (");
    }

    [TestMethod]
    public void Look_WithoutMpi_SaysSo() =>
        Assert.AreEqual("not installed", new WorkerNetwork("eth0", PortRange.Default, "", "not installed", () => s_links).Look().Fault);

    [TestMethod]
    [DataRow("")]
    [DataRow("10.0.0.0/99")]
    [DataRow("eth0 eth1")]
    [DataRow("a-name-of-many-letters")]
    public void Of_WhatIsNoNetwork_IsRefused(string asked) =>
        StringAssert.Contains(Assert.ThrowsExactly<AgentException>(() => WorkerNetwork.Of(asked)).Message, "expected the name of an interface, as \"eth1\", or a range of addresses");

    [TestMethod]
    [DataRow("7300-7399", 7300, 7399)]
    [DataRow("1024-65535", 1024, 65535)]
    [DataRow("9000-9000", 9000, 9000)]
    public void Ports_OfARange_AreIts(string text, int first, int last) => Assert.AreEqual(new PortRange(first, last), PortRange.Parse(text));

    [TestMethod]
    [DataRow("")]
    [DataRow("7300")]
    [DataRow("7399-7300")]
    [DataRow("80-90")]
    [DataRow("65000-65536")]
    [DataRow("7300-+7399")]
    [DataRow("7300 - 7399")]
    [DataRow("7300-7350-7399")]
    public void Ports_ThatAreNone_AreRefused(string text) =>
        StringAssert.Contains(Assert.ThrowsExactly<AgentException>(() => PortRange.Parse(text)).Message, $"Network ports are \"{text}\", expected the first and the last of a range within 1024 to 65535, as \"7300-7399\"");
}
