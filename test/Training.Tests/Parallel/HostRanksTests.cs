using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Training.Parallel;
using Training.Tests.Loop;

namespace Training.Tests.Parallel;

[TestClass]
public sealed class HostRanksTests
{
    [TestMethod]
    public async Task Meet_AnotherRankOfTheHostAborts_LeavesTheLeadersThatItHasMet()
    {
        using var folder = new TempFolder();
        var options = new SegmentOptions { Path = folder["local"], Rank = 0, WorldSize = 2, RunId = "local" };
        var joining = Task.Run(() => new SharedMemoryCollective(SharedSegment.Join(options with { Rank = 1 })));
        var leaders = new DelayedTransport(new SharedMemoryCollective(SharedSegment.Join(new SegmentOptions { Path = folder["leaders"], Rank = 0, WorldSize = 1, RunId = "leaders" })), TimeSpan.Zero);
        var place = new HostPlace(MemoryHosts.Of("2+1"), 0, mine => [mine], () =>
        {
            joining.GetAwaiter().GetResult().Abort();
            return leaders;
        });

        Assert.ThrowsExactly<CollectiveAbortedException>(() => HostRanks.Meet(options, place, CancellationToken.None));

        Assert.IsTrue(leaders.IsDisposed);
        (await joining).Dispose();
    }
}
