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
        pace.Judge(TimeSpan.FromSeconds(100), 1, coordinators, isOwnHere: true);
        for (var second = 1; second < 5; second++)
            Assert.IsNull(pace.Judge(TimeSpan.FromSeconds(100 + second), bytesPerSecond, coordinators, isOwnHere: true), $"After {second} s.");
        Assert.AreEqual(isTooSlow, pace.Judge(TimeSpan.FromSeconds(105), bytesPerSecond, coordinators, isOwnHere: true) is not null);
    }

    [TestMethod]
    public void Pace_OfAWorkerThatWaitsItself_IsNotJudged()
    {
        var pace = new PeerPace();
        for (var second = 0; second < 60; second += 2)
        {
            Assert.IsNull(pace.Judge(TimeSpan.FromSeconds(second), 1, MiB, isOwnHere: true));
            Assert.IsNull(pace.Judge(TimeSpan.FromSeconds(second + 1), 0, MiB, isOwnHere: true));
        }
    }

    // It may wait for who waits for this one.
    [TestMethod]
    public void Pace_OfAWorkerThatHasNothing_IsBoundedOnceTheOwnShareIsHere()
    {
        var pace = new PeerPace();
        for (var second = 0; second < 60; second++)
            Assert.IsNull(pace.Judge(TimeSpan.FromSeconds(second), 0, MiB, isOwnHere: false));
        for (var second = 60; second < 70; second++)
            Assert.IsNull(pace.Judge(TimeSpan.FromSeconds(second), 0, MiB, isOwnHere: true), $"{second}");
        Assert.AreEqual("it has had nothing to give for 10 s", pace.Judge(TimeSpan.FromSeconds(70), 0, MiB, isOwnHere: true));
    }
}
