using MLDistributed.Collectives;

namespace Collectives.Tests;

/// <summary>What every collective must do. One subclass a backend.</summary>
public abstract class CollectiveContract
{
    public static IEnumerable<object[]> WorldsAndLengths =>
        from world in Enumerable.Range(1, 9) from length in new[] { 0, 1, 2, 7, 1023, 1024, 1025, 50_001 } select new object[] { world, length };

    protected abstract Exception?[] Run(int worldSize, Action<ICollective> body);

    [TestMethod, DynamicData(nameof(WorldsAndLengths))]
    public void AllReduce_AnyLength_SumsOverRanks(int world, int length) => Run(world, c =>
    {
        for (var round = 0; round < 3; round++)
        {
            var floats = Enumerable.Range(0, length).Select(i => (float)(Value(i, c.Rank) + round)).ToArray();
            c.AllReduce(floats);
            CollectionAssert.AreEqual(Enumerable.Range(0, length).Select(i => (float)(Total(i, world) + round * world)).ToArray(), floats);
        }

        var doubles = Enumerable.Range(0, length).Select(i => Value(i, c.Rank)).ToArray();
        c.AllReduce(doubles);
        CollectionAssert.AreEqual(Enumerable.Range(0, length).Select(i => Total(i, world)).ToArray(), doubles);
    }).ShouldSucceed();

    [TestMethod, DynamicData(nameof(WorldsAndLengths))]
    public void ReduceScatterAndAllGather_AnyLength_MakeAnAllReduce(int world, int length) => Run(world, c =>
    {
        var mine = Shard.Of(length, c.Rank, world);
        var values = Enumerable.Range(0, length).Select(i => (float)Value(i, c.Rank)).ToArray();
        var shard = new float[mine.Count];
        c.ReduceScatter(values, shard);
        CollectionAssert.AreEqual(Enumerable.Range((int)mine.Start, (int)mine.Count).Select(i => (float)Total(i, world)).ToArray(), shard);
        c.AllGather(shard, values);
        CollectionAssert.AreEqual(Enumerable.Range(0, length).Select(i => (float)Total(i, world)).ToArray(), values);
    }).ShouldSucceed();

    [TestMethod, DynamicData(nameof(WorldsAndLengths))]
    public void Broadcast_FromAnyRoot_GivesItsValues(int world, int length) => Run(world, c =>
    {
        for (var root = 0; root < world; root++)
        {
            var values = Enumerable.Range(0, length).Select(i => Value(i, c.Rank)).ToArray();
            c.Broadcast(values, root);
            CollectionAssert.AreEqual(Enumerable.Range(0, length).Select(i => Value(i, root)).ToArray(), values);
        }
    }).ShouldSucceed();

    [TestMethod, DataRow(2), DataRow(3), DataRow(5)]
    public void Barrier_ManyTimes_NoRankRunsAhead(int world)
    {
        var counts = new int[world];
        Run(world, c =>
        {
            for (var i = 1; i <= 2000; i++)
            {
                Volatile.Write(ref counts[c.Rank], i);
                c.Barrier();
                for (var r = 0; r < world; r++)
                    Assert.IsGreaterThanOrEqualTo(i, Volatile.Read(ref counts[r]));
            }
        }).ShouldSucceed();
    }

    [TestMethod]
    public void AllReduce_DifferentLengths_FailsOnAllRanks()
    {
        var failures = Run(3, c => c.AllReduce(new float[c.Rank == 1 ? 5 : 6]));
        foreach (var failure in failures)
            Assert.IsInstanceOfType<CollectiveMismatchException>(failure);
        StringAssert.Contains(failures[0]!.Message, "AllReduce of 6 Single values and rank 1 in AllReduce of 5");
    }

    [TestMethod]
    public void Operations_OfDifferentKinds_FailOnAllRanks()
    {
        var failures = Run(2, c =>
        {
            if (c.Rank == 0)
                c.AllReduce(new float[4]);
            else
                c.Broadcast(new float[4], 0);
        });
        foreach (var failure in failures)
            Assert.IsInstanceOfType<CollectiveMismatchException>(failure);
    }

    [TestMethod]
    public void AllReduce_OfOtherElements_FailsOnAllRanks()
    {
        var failures = Run(2, c =>
        {
            if (c.Rank == 0)
                c.AllReduce(new float[4]);
            else
                c.AllReduce(new double[4]);
        });
        foreach (var failure in failures)
            Assert.IsInstanceOfType<CollectiveMismatchException>(failure);
        StringAssert.Contains(failures[0]!.Message, "4 Single values and rank 1 in AllReduce of 4 Double");
    }

    [TestMethod]
    public void Broadcast_FromOtherRoots_FailsOnAllRanks()
    {
        foreach (var failure in Run(2, c => c.Broadcast(new float[4], c.Rank)))
            Assert.IsInstanceOfType<CollectiveMismatchException>(failure);
    }

    [TestMethod, DataRow(0), DataRow(1), DataRow(2), DataRow(3), DataRow(7)]
    public void Abort_InAnyPhase_StopsTheOthers(int phase)
    {
        var failures = Run(3, c =>
        {
            for (var i = 0; ; i++)
            {
                if (c.Rank == 1 && i == phase)
                {
                    c.Abort();
                    return;
                }

                c.AllReduce(new float[3000]);
            }
        });
        Assert.IsNull(failures[1]);
        Assert.IsInstanceOfType<CollectiveAbortedException>(failures[0]);
        Assert.IsInstanceOfType<CollectiveAbortedException>(failures[2]);
        StringAssert.Contains(failures[0]!.Message, "rank 1 aborted");
    }

    [TestMethod]
    public void Abort_FromAnotherThread_WakesTheRankItself()
    {
        using var waits = new ManualResetEventSlim();
        var failures = Run(2, c =>
        {
            if (c.Rank == 1)
            {
                // Never comes to the barrier; leaves only when rank 0 has been woken.
                Assert.IsTrue(waits.Wait(Ranks.Bound));
                return;
            }

            var aborter = new Thread(c.Abort);
            aborter.Start();
            try
            {
                c.Barrier();
            }
            finally
            {
                aborter.Join();
                waits.Set();
            }
        });
        Assert.IsInstanceOfType<CollectiveAbortedException>(failures[0]);
        Assert.IsNull(failures[1]);
    }

    // Whole numbers, exact in float32 for any order of summation.
    private static double Value(int i, int rank) => i % 1000 + 10 * rank;

    private static double Total(int i, int world) => Enumerable.Range(0, world).Sum(r => Value(i, r));
}
