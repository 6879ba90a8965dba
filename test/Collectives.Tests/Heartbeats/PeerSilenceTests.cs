using MLDistributed.Collectives.Heartbeats;

namespace Collectives.Tests.Heartbeats;

[TestClass]
public sealed class PeerSilenceTests
{
    // What happens to rank 0 of 3: "0.4" is time that passes, "h1" rank 1 is heard, "l1" it leaves. Then whom it has not heard for a second.
    [TestMethod]
    [DataRow("0.4 0.4", "")]
    [DataRow("0.5 0.5", "1:1 2:1")]
    [DataRow("0.5 h1 0.5", "2:1")]
    [DataRow("0.5 h1 h2 0.5 h1 0.5", "2:1")]
    [DataRow("0.5 h2 0.4 h2 0.4 h2 0.4", "1:1.7")]
    [DataRow("0.5 h1 l1 0.5 0.5 0.5 h2", "")]
    [DataRow("3 h2", "", DisplayName = "It stood still itself, which says little of others")]
    [DataRow("3 3", "1:1 2:1")]
    public void Rank_NotHeard_IsSilentForTheTimeThatWasListened(string happened, string expected)
    {
        var silence = new PeerSilence(3, self: 0);

        foreach (var each in happened.Split(' '))
            if (each[0] == 'h')
                silence.Hear(each[1] - '0');
            else if (each[0] == 'l')
                silence.Leave(each[1] - '0');
            else
                silence.Pass(TimeSpan.FromSeconds(double.Parse(each, System.Globalization.CultureInfo.InvariantCulture)));

        Assert.AreEqual(expected, string.Join(' ', silence.Since(TimeSpan.FromSeconds(1)).Select(s => FormattableString.Invariant($"{s.Rank}:{s.Silence.TotalSeconds}"))));
        Assert.AreEqual(expected.Length > 0, silence.Longest >= TimeSpan.FromSeconds(1));
    }

    [TestMethod]
    public void Meeting_IsOverWhenAllOthersWereHeard()
    {
        var silence = new PeerSilence(3, self: 1);

        silence.Hear(0);
        Assert.IsFalse(silence.HasMet);
        silence.Hear(2);

        Assert.IsTrue(silence.HasMet);
        Assert.IsTrue(new PeerSilence(1, self: 0).HasMet);
    }
}
