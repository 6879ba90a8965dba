using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;

namespace Collectives.Tests;

/// <summary>Many iterations with too few cores, aborts at any moment, and sizes at the edge.</summary>
[TestClass]
public sealed class StressTests
{
    [TestMethod, TestCategory("Slow"), DataRow(2, 4000), DataRow(4, 2000), DataRow(9, 500)]
    public void Operations_BesideBusyThreads_GoForward(int world, int rounds)
    {
        using var stop = new CancellationTokenSource();
        var hogs = Enumerable.Range(0, Environment.ProcessorCount).Select(_ => new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
                Thread.SpinWait(1000);
        }) { Priority = ThreadPriority.BelowNormal }).ToArray();
        foreach (var hog in hogs)
            hog.Start();
        try
        {
            Ranks.RunCollective(world, c =>
            {
                var values = new float[world * 37 + 1];
                for (var round = 0; round < rounds; round++)
                {
                    values.AsSpan().Fill(round % 1000 + c.Rank);
                    c.AllReduce(values);
                    var expected = world * (round % 1000) + world * (world - 1) / 2;
                    Assert.IsFalse(values.AsSpan().ContainsAnyExcept(expected), $"round {round}");
                    // The others, some of the time: they say themselves what is wrong.
                    if (round % 10 == 0)
                        Processes.RankProgram.Operations[round / 10 % Processes.RankProgram.Operations.Length](c);
                }
            }, o => o with { Timeout = TimeSpan.FromSeconds(20) }).ShouldSucceed();
        }
        finally
        {
            stop.Cancel();
            foreach (var hog in hogs)
                hog.Join();
        }
    }

    [TestMethod, DataRow(2), DataRow(3), DataRow(7)]
    public void Abort_AtAnyMoment_StopsAllRanks(int world)
    {
        for (var trial = 0; trial < 40; trial++)
        {
            using var running = new CountdownEvent(world);
            var random = new Random(trial);
            var aborter = random.Next(world);
            var spins = random.Next(40_000);
            var failures = Ranks.RunCollective(world, c =>
            {
                running.Signal();
                var thread = c.Rank == aborter ? new Thread(() =>
                {
                    running.Wait();
                    Thread.SpinWait(spins);
                    c.Abort();
                }) : null;
                thread?.Start();
                try
                {
                    while (true)
                    {
                        foreach (var operation in Processes.RankProgram.Operations)
                            operation(c);
                    }
                }
                finally
                {
                    thread?.Join();
                }
            });
            foreach (var failure in failures)
                Assert.IsInstanceOfType<CollectiveAbortedException>(failure, failure?.ToString());
        }
    }

    [TestMethod, DataRow(1), DataRow(2), DataRow(3), DataRow(4), DataRow(5), DataRow(6), DataRow(7), DataRow(8), DataRow(9)]
    public void Operations_OnAnyNumberOfRanks_GiveTheirResults(int world) => Ranks.RunCollective(world, c =>
    {
        foreach (var operation in Processes.RankProgram.Operations)
            operation(c);
    }).ShouldSucceed();

    [TestMethod, TestCategory("Slow")]
    public void Operations_OnTwoGigabytesAndABit_CoverAll()
    {
        if (GC.GetGCMemoryInfo().TotalAvailableMemoryBytes < 12L << 30)
            Assert.Inconclusive("Needs 12 GiB of memory: two ranks have 3 GiB each, beside what else runs.");
        Ranks.RunCollective(2, MoveTwoGigabytes, o => o with { StagingBytes = 1 << 20 }, bound: TimeSpan.FromMinutes(5)).ShouldSucceed();
    }

    private static void MoveTwoGigabytes(ICollective c)
    {
        var values = new float[(1 << 29) + 3];
        values.AsSpan().Fill(c.Rank + 1);
        values[^1] = 10;
        c.AllReduce(values);
        Assert.AreEqual(20, values[^1]);
        Assert.IsFalse(values.AsSpan(0, values.Length - 1).ContainsAnyExcept(3f));
        c.Broadcast(values, 1);
        Assert.AreEqual(20, values[^1]);
        var shard = new float[Shard.Of(values.Length, c.Rank, 2).Count];
        c.ReduceScatter(values, shard);
        Assert.IsFalse(shard.AsSpan(0, shard.Length - 1).ContainsAnyExcept(6f));
        Assert.AreEqual(c.Rank == 1 ? 40 : 6, shard[^1]);
        c.AllGather(shard, values);
        Assert.AreEqual(40, values[^1]);
        Assert.IsFalse(values.AsSpan(0, values.Length - 1).ContainsAnyExcept(6f));
    }

    [TestMethod, DataRow(0), DataRow(10), DataRow(5000)]
    public void Join_FileThatRankZeroHasNotFinished_TimesOut(int bytes)
    {
        // As a crash between the file and its header leaves it.
        var path = Ranks.NewPath();
        File.WriteAllBytes(path, new byte[bytes]);
        try
        {
            var options = new SegmentOptions { Path = path, Rank = 1, WorldSize = 2, RendezvousTimeout = TimeSpan.FromMilliseconds(50) };
            StringAssert.Contains(Assert.ThrowsExactly<CollectiveTimeoutException>(() => SharedSegment.Join(options)).Message, "expected rank 0 to make it");
        }
        finally
        {
            File.Delete(path);
        }
    }
}
