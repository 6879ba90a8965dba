using MLDistributed.Collectives;

namespace Collectives.Tests;

/// <summary>What every collective must do. One subclass a backend.</summary>
public abstract class CollectiveContract
{
    public static IEnumerable<object[]> Lengths => new[] { 0, 1, 2, 7, 1023, 1024, 1025, 50_001 }.Select(length => new object[] { length });

    /// <summary>Numbers of ranks to try.</summary>
    protected virtual IEnumerable<int> Worlds => Enumerable.Range(1, 9);

    /// <summary>A file that the ranks of a test share, whatever they are.</summary>
    protected virtual string BoardPath { get; } = Ranks.NewPath();

    /// <summary>What each rank threw. Ranks may be processes that call the test anew: a body keeps to what it makes itself, and the board.</summary>
    protected abstract Exception?[] Run(int worldSize, Action<ICollective> body);

    [TestMethod, DynamicData(nameof(Lengths))]
    public void AllReduce_AnyLength_SumsOverRanks(int length)
    {
        foreach (var world in Worlds)
        {
            Run(world, c =>
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
        }
    }

    [TestMethod, DataRow(1023), DataRow(50_001)]
    public void AllReduce_OfNumbersThatRound_SumsInOrder(int length)
    {
        foreach (var world in Worlds)
        {
            Run(world, c =>
            {
                var terms = Enumerable.Range(0, world).Select(rank => Rough(rank, length)).ToArray();
                var values = terms[c.Rank].ToArray();
                c.AllReduce(values);
                var expected = Enumerable.Range(0, length).Select(i => Sum([.. terms.Select(t => t[i])])).ToArray();
                CollectionAssert.AreEqual(expected, values);
                var shard = new float[Shard.Of(length, c.Rank, world).Count];
                c.ReduceScatter(terms[c.Rank], shard);
                c.AllGather(shard, values);
                CollectionAssert.AreEqual(expected, values);
            }).ShouldSucceed();
        }
    }

    [TestMethod, DynamicData(nameof(Lengths))]
    public void ReduceScatterAndAllGather_AnyLength_MakeAnAllReduce(int length)
    {
        foreach (var world in Worlds)
        {
            Run(world, c =>
            {
                var mine = Shard.Of(length, c.Rank, world);
                var values = Enumerable.Range(0, length).Select(i => (float)Value(i, c.Rank)).ToArray();
                var shard = new float[mine.Count];
                c.ReduceScatter(values, shard);
                CollectionAssert.AreEqual(Enumerable.Range((int)mine.Start, (int)mine.Count).Select(i => (float)Total(i, world)).ToArray(), shard);
                c.AllGather(shard, values);
                CollectionAssert.AreEqual(Enumerable.Range(0, length).Select(i => (float)Total(i, world)).ToArray(), values);
            }).ShouldSucceed();
        }
    }

    [TestMethod, DynamicData(nameof(Lengths))]
    public void Broadcast_FromAnyRoot_GivesItsValues(int length)
    {
        foreach (var world in Worlds)
        {
            Run(world, c =>
            {
                for (var root = 0; root < world; root++)
                {
                    var values = Enumerable.Range(0, length).Select(i => Value(i, c.Rank)).ToArray();
                    c.Broadcast(values, root);
                    CollectionAssert.AreEqual(Enumerable.Range(0, length).Select(i => Value(i, root)).ToArray(), values);
                }
            }).ShouldSucceed();
        }
    }

    [TestMethod, DataRow(2), DataRow(3), DataRow(4)]
    public void Barrier_ManyTimes_NoRankRunsAhead(int world)
    {
        using var board = new Board(BoardPath, world);
        Run(world, c =>
        {
            for (var i = 1; i <= 2000; i++)
            {
                board[c.Rank] = i;
                c.Barrier();
                for (var r = 0; r < world; r++)
                    Assert.IsGreaterThanOrEqualTo(i, board[r]);
            }
        }).ShouldSucceed();
    }

    [TestMethod]
    public void AllReduce_DifferentLengths_FailsOnAllRanks()
    {
        var failures = Run(3, c => c.AllReduce(new float[c.Rank == 1 ? 5 : 6]));
        ShouldMismatch(failures);
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
        ShouldMismatch(failures);
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
        ShouldMismatch(failures);
        StringAssert.Contains(failures[0]!.Message, "4 Single values and rank 1 in AllReduce of 4 Double");
    }

    [TestMethod]
    public void Broadcast_FromOtherRoots_FailsOnAllRanks() => ShouldMismatch(Run(2, c => c.Broadcast(new float[4], c.Rank)));

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
        var failures = Run(2, c =>
        {
            // Never comes to the barrier.
            if (c.Rank == 1)
                return;

            var aborter = new Thread(c.Abort);
            aborter.Start();
            try
            {
                c.Barrier();
            }
            finally
            {
                aborter.Join();
            }
        });
        Assert.IsInstanceOfType<CollectiveAbortedException>(failures[0]);
        Assert.IsNull(failures[1]);
    }

    /// <summary>The sum of one element over ranks, in the order that the backend promises: that of ranks.</summary>
    protected virtual float Sum(float[] terms) => terms.Aggregate((a, b) => a + b);

    /// <summary>That all ranks failed because they did different things.</summary>
    protected virtual void ShouldMismatch(Exception?[] failures)
    {
        foreach (var failure in failures)
            Assert.IsInstanceOfType<CollectiveMismatchException>(failure);
    }

    private static float[] Rough(int rank, int length)
    {
        var random = new Random(100 + rank);
        return [.. Enumerable.Range(0, length).Select(_ => (random.NextSingle() - 0.5f) * MathF.Pow(10, random.Next(-3, 4)))];
    }

    // Whole numbers, exact in float32 for any order of summation.
    private static double Value(int i, int rank) => i % 1000 + 10 * rank;

    private static double Total(int i, int world) => Enumerable.Range(0, world).Sum(r => Value(i, r));
}
