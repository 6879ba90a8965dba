using MLDistributed.Worker.Peers;

namespace Worker.Tests.Peers;

[TestClass]
public sealed class PeerPaceTests
{
    private const int MiB = 1 << 20;

    [TestMethod]
    [DataRow(MiB, 4 * MiB + 8, true, DisplayName = "less than a quarter of the coordinator's")]
    [DataRow(MiB, 4 * MiB - 8, false, DisplayName = "more")]
    [DataRow(15 << 10, 0, true, DisplayName = "nothing to compare with, and hardly anything")]
    [DataRow(17 << 10, 0, false, DisplayName = "nothing to compare with")]
    public void Pace_OfARate_IsJudgedAfterAWindow(int bytesPerSecond, int coordinators, bool isTooSlow)
    {
        var pace = new PeerPace();
        pace.IsTooSlow(TimeSpan.FromSeconds(100), 1, coordinators);
        for (var second = 1; second < 5; second++)
            Assert.IsFalse(pace.IsTooSlow(TimeSpan.FromSeconds(100 + second), bytesPerSecond, coordinators), $"After {second} s.");
        Assert.AreEqual(isTooSlow, pace.IsTooSlow(TimeSpan.FromSeconds(105), bytesPerSecond, coordinators));
    }

    [TestMethod]
    public void Pace_OfAWorkerThatWaitsItself_IsNotJudged()
    {
        var pace = new PeerPace();
        for (var second = 0; second < 60; second += 2)
        {
            Assert.IsFalse(pace.IsTooSlow(TimeSpan.FromSeconds(second), 1, MiB));
            Assert.IsFalse(pace.IsTooSlow(TimeSpan.FromSeconds(second + 1), 0, MiB));
        }
    }
}
