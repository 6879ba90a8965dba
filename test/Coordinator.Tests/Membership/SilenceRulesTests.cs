using MLDistributed.Coordinator.Membership;

namespace MLDistributed.Coordinator.Tests.Membership;

[TestClass]
public sealed class SilenceRulesTests
{
    // "0:1" - the first does not hear the second; "0/1" - it gets no connection to it.
    [TestMethod]
    [DataRow(2, "0:1", 1, DisplayName = "Stands still, or speaks and is not heard")]
    [DataRow(2, "1:0", 0, DisplayName = "The one with rank 0 stands still")]
    [DataRow(2, "0:1 1:0", 1, DisplayName = "The link between two: the one with rank 0 stays")]
    [DataRow(3, "0:2 1:2 2:0 2:1", 2, DisplayName = "The last is cut off")]
    [DataRow(3, "1:0 2:0 0:1 0:2", 0, DisplayName = "The first is cut off")]
    [DataRow(3, "0:1 2:1", 1, DisplayName = "One of three stands still")]
    [DataRow(3, "2:0 2:1", 2, DisplayName = "One hears nobody, and is heard")]
    [DataRow(3, "0:1 0:2", 0, DisplayName = "The one with rank 0 hears nobody")]
    [DataRow(3, "0:2 2:0 2:1", 2, DisplayName = "One was stopped before it spoke")]
    [DataRow(3, "1:2 2:1", 2, DisplayName = "The link between two of three")]
    [DataRow(4, "0:2 0:3 1:2 1:3 2:0 2:1 3:0 3:1", 3, DisplayName = "Two halves")]
    [DataRow(4, "0:1 2:1 3:1 1:0", 1)]
    public void Lost_IsTheOneThatMostDoNotHear(int hosts, string told, int expected) =>
        Assert.AreEqual(expected, Decide(hosts, told)!.Host);

    [TestMethod]
    [DataRow(2, "0:1 1:0", "0 0", 1, "0", DisplayName = "Two")]
    [DataRow(2, "0/1 1/0", "0 0", 1, "0", DisplayName = "Two that get no connections")]
    [DataRow(2, "0:1", "0 0", 1, "", DisplayName = "One of two says nothing")]
    [DataRow(2, "0:1 1:0", "1 0", 0, "", DisplayName = "The first was in one with another")]
    [DataRow(2, "0:1 1:0", "0 1", 1, "", DisplayName = "The second was in one with another")]
    [DataRow(2, "0:1 1:0", "1 1", 1, "0", DisplayName = "Both were, with others")]
    [DataRow(3, "1:2 2:1", "0 0 0", 2, "1", DisplayName = "Two of three")]
    [DataRow(3, "0:2 1:2 2:0 2:1", "0 0 0", 2, "", DisplayName = "One of three")]
    [DataRow(3, "0:1 1:2", "0 0 0", 1, "", DisplayName = "The one between")]
    [DataRow(4, "0:2 0:3 1:2 1:3 2:0 2:1 3:0 3:1", "0 0 0 0", 3, "0 1", DisplayName = "Two halves")]
    [DataRow(3, "0:2 1:2 2:0 2:1", "1 1 0", 2, "", DisplayName = "Two halves, without the last")]
    [DataRow(5, "0:1 0:3 1:0 1:2 1:3 1:4 2:1 2:3 3:0 3:1 3:2 3:4 4:1 4:3", "0 0 0 0 0", 3, "", DisplayName = "Two of five are cut off at once")]
    [DataRow(4, "0:1 2:3", "0 0 0 0", 3, "", DisplayName = "Two stand still at once")]
    [DataRow(4, "0:1 1:0 2:3 3:2", "0 0 0 0", 3, "2", DisplayName = "Two links at once")]
    [DataRow(3, "0:1 1:0", "0 0 2", 1, "0", DisplayName = "One that is heard, and was in ties with others")]
    public void Tie_OfThoseThatAreAlike_IsToldUnlessAnotherCameBefore(int hosts, string told, string earlier, int host, string ties)
    {
        var lost = Decide(hosts, told, earlier: earlier)!;

        Assert.AreEqual((host, ties), (lost.Host, string.Join(' ', lost.Ties)));
    }

    [TestMethod]
    [DataRow("0:1", true, "Worker \"h0\" has heard nothing of worker \"h1\" (10.0.0.2:7300, UDP) for 5.1 s over the network of their ranks, expected a heartbeat every half second. See whether its machine or process stood still, and look at the network between them.", false)]
    [DataRow("0:1", false, "Worker \"h0\" has heard nothing of worker \"h1\" (10.0.0.2:7300, UDP) for 5.1 s over the network of their ranks, expected a heartbeat every half second. See whether --network names one network on all of them, and whether firewalls and switches let through what goes to the ports of --network-ports there, TCP and UDP.", true)]
    [DataRow("0/1 2/1", false, "Workers \"h0\" and \"h2\" have got no connection to worker \"h1\" (10.0.0.2:7300, TCP) for 5.1 s over the network of their ranks, expected one. See whether --network names one network on all of them, and whether firewalls and switches let through what goes to the ports of --network-ports there, TCP and UDP.", true)]
    [DataRow("0/1 1/0", false, "Worker \"h0\" has got no connection to worker \"h1\" (10.0.0.2:7300, TCP) for 5.1 s over the network of their ranks, expected one, and \"h1\" none to \"h0\". See whether --network names one network on all of them, and whether firewalls and switches let through what goes to the ports of --network-ports there, TCP and UDP.", true)]
    [DataRow("0/1 0/2 1:2", false, "Worker \"h1\" has heard nothing of worker \"h2\" (10.0.0.3:7300, UDP) for 5.1 s over the network of their ranks, expected a heartbeat every half second. See whether --network names one network on all of them, and whether firewalls and switches let through what goes to the ports of --network-ports there, TCP and UDP.", true)]
    [DataRow("2:1 0:1 1:2 1:0", true, "Workers \"h0\" and \"h2\" have heard nothing of worker \"h1\" (10.0.0.2:7300, UDP) for 5.1 s over the network of their ranks, expected a heartbeat every half second, and \"h1\" nothing of \"h0\" and \"h2\". Look at the cables, switches and firewalls between them.", true)]
    [DataRow("2:1 2:0", true, "Worker \"h2\" has heard nothing of workers \"h0\" (10.0.0.1:7300, UDP) and \"h1\" (10.0.0.2:7300, UDP) for 5.2 s over the network of their ranks, expected a heartbeat every half second; they hear it. Look at its cable, switch and firewall.", true)]
    public void Reason_NamesAllAndWhatToLookAt(string told, bool hasTrained, string reason, bool isCutOff)
    {
        var lost = Decide(3, told, hasTrained)!;

        Assert.AreEqual((reason, isCutOff), (lost.Reason, lost.IsCutOff));
    }

    [TestMethod]
    public void Nobody_WithoutAWord_IsLost() => Assert.IsNull(Decide(3, ""));

    private static LostHost? Decide(int hosts, string told, bool hasTrained = true, string? earlier = null) => SilenceRules.Decide(
        [.. Enumerable.Range(0, hosts).Select(h => $"h{h}")],
        [.. told.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(t => (By: t[0] - '0', Of: t[2] - '0', IsConnection: t[1] == '/')).Select(s => new Silence(s.By, s.Of, TimeSpan.FromSeconds(5.1 + s.By / 20.0), $"10.0.0.{s.Of + 1}:7300") { IsConnection = s.IsConnection })],
        hasTrained,
        earlier is null ? new int[hosts] : [.. earlier.Split(' ').Select(e => int.Parse(e, System.Globalization.CultureInfo.InvariantCulture))]);
}
