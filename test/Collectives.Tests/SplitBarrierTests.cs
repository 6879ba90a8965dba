using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;

namespace Collectives.Tests;

/// <summary>A barrier in two halves.</summary>
[TestClass]
public sealed class SplitBarrierTests
{
    // 9: more ranks than most machines that build this have cores, so that they yield and sleep too.
    [TestMethod, DataRow(1), DataRow(2), DataRow(3), DataRow(9)]
    public void Await_AfterArrive_SeesWhatAllWroteBeforeTheyArrived(int world) => Ranks.RunCollective(world, c =>
    {
        var collective = (SharedMemoryCollective)c;
        var own = 0L;
        for (var round = 1; round <= 500; round++)
        {
            collective.Segment.Scratch(c.Rank)[round % 2] = round;
            var arrival = collective.Arrive();
            own += round; // without the others
            collective.Await(arrival);
            for (var rank = 0; rank < world; rank++)
                Assert.AreEqual(round, collective.Segment.Scratch(rank)[round % 2]);
        }

        Assert.AreEqual(500 * 501 / 2, own);
    }).ShouldSucceed();

    [TestMethod]
    public void Arrive_OthersAreNotThere_DoesNotWait()
    {
        using var arrived = new ManualResetEventSlim();
        Ranks.RunCollective(2, c =>
        {
            var collective = (SharedMemoryCollective)c;
            if (c.Rank == 1)
                Assert.IsTrue(arrived.Wait(Ranks.Bound), "Rank 0 waited for rank 1.");
            var arrival = collective.Arrive();
            arrived.Set();
            collective.Await(arrival);
        }).ShouldSucceed();
    }

    [TestMethod]
    public void Await_RankAbortsInsteadOfArriving_Fails()
    {
        using var arrived = new ManualResetEventSlim();
        var failures = Ranks.RunCollective(2, c =>
        {
            var collective = (SharedMemoryCollective)c;
            if (c.Rank == 1)
            {
                Assert.IsTrue(arrived.Wait(Ranks.Bound));
                collective.Abort();
                return;
            }

            var arrival = collective.Arrive();
            arrived.Set();
            collective.Await(arrival);
        });
        Assert.IsInstanceOfType<CollectiveAbortedException>(failures[0]);
        StringAssert.Contains(failures[0]!.Message, "rank 1 aborted");
        Assert.IsNull(failures[1]);
    }

    [TestMethod]
    public void Await_RankNeverArrives_TimesOutAndNamesIt()
    {
        using var done = new ManualResetEventSlim();
        var failures = Ranks.RunCollective(2, c =>
        {
            var collective = (SharedMemoryCollective)c;
            if (c.Rank == 1)
            {
                Assert.IsTrue(done.Wait(Ranks.Bound));
                return;
            }

            try
            {
                collective.Await(collective.Arrive());
            }
            finally
            {
                done.Set();
            }
        }, o => o with { Timeout = TimeSpan.FromMilliseconds(300) });
        Assert.IsInstanceOfType<CollectiveTimeoutException>(failures[0]);
        StringAssert.Contains(failures[0]!.Message, "for rank 1,");
    }
}
