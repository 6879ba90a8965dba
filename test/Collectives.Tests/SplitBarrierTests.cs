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

    // As a step does: all meet, the parts are done by whoever runs, all see them done.
    [TestMethod, DataRow(1), DataRow(2), DataRow(5), DataRow(9)]
    public void TryTake_ByAllForAll_GivesEachPartToOneOfThem(int world) => Ranks.RunCollective(world, c =>
    {
        var collective = (SharedMemoryCollective)c;
        for (var round = 1; round <= 2000; round++)
        {
            var meeting = collective.Arrive();
            collective.Await(meeting);
            for (var i = 0; i < 2; i++)
            {
                meeting++;
                for (var part = 0; part < world; part++)
                {
                    if (!collective.TryTake((c.Rank + part) % world, meeting))
                        continue;
                    // Not atomic: two at one part would be seen.
                    collective.Segment.Scratch((c.Rank + part) % world)[i]++;
                    collective.Arrive((c.Rank + part) % world);
                }

                collective.Await(meeting);
            }

            for (var part = 0; part < world; part++)
                Assert.AreEqual((round, round), (collective.Segment.Scratch(part)[0], collective.Segment.Scratch(part)[1]));
        }
    }).ShouldSucceed();

    [TestMethod]
    public void Await_PartsOfARankThatIsAway_AreDoneByOthers()
    {
        using var done = new CountdownEvent(2);
        Ranks.RunCollective(3, c =>
        {
            var collective = (SharedMemoryCollective)c;
            var meeting = collective.Arrive();
            collective.Await(meeting);
            if (c.Rank == 2)
                Assert.IsTrue(done.Wait(Ranks.Bound), "The others waited for rank 2.");
            for (var i = 0; i < 2; i++)
            {
                meeting++;
                for (var part = 0; part < 3; part++)
                {
                    if (collective.TryTake(part, meeting))
                    {
                        Assert.AreNotEqual(2, c.Rank, "A part was given twice.");
                        collective.Arrive(part);
                    }
                }

                collective.Await(meeting);
            }

            if (c.Rank != 2)
                done.Signal();
            c.Barrier();
        }).ShouldSucceed();
    }

    [TestMethod]
    public void Await_RankHasTakenAPartAndHangs_TimesOutAndNamesIt()
    {
        using var taken = new ManualResetEventSlim();
        using var done = new ManualResetEventSlim();
        var failures = Ranks.RunCollective(3, c =>
        {
            var collective = (SharedMemoryCollective)c;
            var meeting = collective.Arrive();
            collective.Await(meeting++);
            if (c.Rank == 1)
            {
                Assert.IsTrue(collective.TryTake(2, meeting));
                taken.Set();
            }

            if (c.Rank != 0)
            {
                Assert.IsTrue(done.Wait(Ranks.Bound));
                return;
            }

            try
            {
                Assert.IsTrue(taken.Wait(Ranks.Bound));
                Assert.IsFalse(collective.TryTake(2, meeting));
                foreach (var part in (int[])[0, 1])
                {
                    Assert.IsTrue(collective.TryTake(part, meeting));
                    collective.Arrive(part);
                }

                collective.Await(meeting);
            }
            finally
            {
                done.Set();
            }
        }, o => o with { Timeout = TimeSpan.FromMilliseconds(300) });
        Assert.IsInstanceOfType<CollectiveTimeoutException>(failures[0]);
        StringAssert.Contains(failures[0]!.Message, "for rank 1,");
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
