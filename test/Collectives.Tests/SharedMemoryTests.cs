using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Tests.Shared;

namespace Collectives.Tests;

[TestClass]
public sealed class SharedMemoryTests : CollectiveContract
{
    [TestMethod]
    public void Barrier_RankThatNeverComes_TimesOutAndNamesIt()
    {
        using var done = new CountdownEvent(2);
        var failures = Ranks.RunCollective(3, c =>
        {
            if (c.Rank == 1)
            {
                Assert.IsTrue(done.Wait(Ranks.Bound));
                return;
            }

            try
            {
                c.Barrier();
            }
            finally
            {
                done.Signal();
            }
        }, o => o with { Timeout = TimeSpan.FromMilliseconds(300) });
        Assert.IsTrue(failures[0] is CollectiveTimeoutException || failures[2] is CollectiveTimeoutException);
        StringAssert.Contains((failures[0] as CollectiveTimeoutException ?? failures[2])!.Message, "for rank 1,");
        Assert.IsNotNull(failures[0]);
        Assert.IsNotNull(failures[2]);
    }

    [TestMethod]
    public unsafe void Segment_Gradients_AreSeenByAllRanksAndParametersAreOne()
    {
        Ranks.RunCollective(3, c =>
        {
            var segment = ((SharedMemoryCollective)c).Segment;
            for (var i = 0; i < segment.Length; i++)
                segment.Gradients(c.Rank)[i] = 100 * c.Rank + i;
            segment.Parameters[c.Rank] = c.Rank + 1;
            segment.Scratch(c.Rank)[0] = c.Rank;
            c.Barrier();
            for (var r = 0; r < 3; r++)
            {
                Assert.AreEqual(100 * r + 10, segment.Gradients(r)[10]);
                Assert.AreEqual(r + 1, segment.Parameters[r]);
                Assert.AreEqual(r, segment.Scratch(r)[0]);
            }

            c.Barrier();
        }, o => o with { Length = 11 }).ShouldSucceed();
    }

    [TestMethod, DataRow(1), DataRow(2), DataRow(3), DataRow(5)]
    public unsafe void AllReduce_OfGradients_SumsThemWhereTheyLie(int world) => Ranks.RunCollective(world, c =>
    {
        const int Place = 7, Count = 20_001;
        var gradients = ((SharedMemoryCollective)c).Segment.Gradients(c.Rank);
        for (var i = 0; i < Place + Count + 1; i++)
            gradients[i] = i % 1000 + c.Rank;
        c.AllReduce(new Span<float>(gradients + Place, Count));
        for (var i = 0; i < Place + Count + 1; i++)
            Assert.AreEqual(i is >= Place and < Place + Count ? i % 1000 * world + world * (world - 1) / 2 : i % 1000 + c.Rank, gradients[i]);
    }, o => o with { Length = 20_009 }).ShouldSucceed();

    [TestMethod]
    public unsafe void AllReduce_OfGradientsAtOtherPlaces_FailsOnAllRanks()
    {
        var failures = Ranks.RunCollective(2, c => c.AllReduce(new Span<float>(((SharedMemoryCollective)c).Segment.Gradients(c.Rank) + c.Rank, 4)), o => o with { Length = 11 });
        foreach (var failure in failures)
            Assert.IsInstanceOfType<CollectiveMismatchException>(failure);
        StringAssert.Contains(failures[0]!.Message, "from 0 on and rank 1 in AllReduce of 4 Single values in the gradients from 1 on");
    }

    [TestMethod]
    public void Join_WorldSizesDiffer_IsRefused() => JoinRefused(o => o with { WorldSize = o.Rank == 0 ? 2 : 3 }, "has 2 ranks, expected 3");

    [TestMethod]
    public void Join_LengthsDiffer_IsRefused() => JoinRefused(o => o with { Length = o.Rank == 0 ? 10 : 11 }, "has 10 parameters, expected 11");

    [TestMethod]
    public void Join_StateBuffersDiffer_IsRefused() => JoinRefused(o => o with { StateBuffers = o.Rank == 0 ? 1 : 2 }, "has 1 state buffers, expected 2");

    [TestMethod]
    public void Join_AnotherRunsSegment_IsRefused() => JoinRefused(o => o with { RunId = o.Rank == 0 ? "a" : "b" }, "is another run's, expected that of \"b\"");

    [TestMethod]
    public void Join_ForeignFile_IsRefused()
    {
        var path = Ranks.NewPath();
        File.WriteAllText(path, new string('x', 10_000));
        try
        {
            var refused = Assert.ThrowsExactly<CollectiveException>(() => SharedSegment.Join(new SegmentOptions { Path = path, Rank = 1, WorldSize = 2 }));
            StringAssert.Contains(refused.Message, "is not a segment of this program");
            StringAssert.Contains(Assert.ThrowsExactly<CollectiveException>(() => SharedSegment.Join(new SegmentOptions { Path = path, Rank = 0, WorldSize = 2 })).Message, "exists already");
            Assert.IsTrue(File.Exists(path), "A file that is not ours was removed.");
        }
        finally
        {
            File.Delete(path);
        }
    }

    [TestMethod]
    public void Join_SameRankTwice_IsRefused()
    {
        var path = Ranks.NewPath();
        var failures = Ranks.Run(3, thread =>
        {
            var rank = Math.Min(thread, 1);
            SharedSegment.Join(new SegmentOptions { Path = path, Rank = rank, WorldSize = 3, RendezvousTimeout = TimeSpan.FromSeconds(3) }).Dispose();
        });
        Assert.IsTrue(failures.Any(f => f is CollectiveException and not CollectiveTimeoutException && f.Message.Contains("has joined", StringComparison.Ordinal)), failures[1]?.Message + failures[2]?.Message);
        Assert.IsNotNull(failures[0]);
        Assert.IsFalse(File.Exists(path));
    }

    [TestMethod]
    public void Join_MoreThanTheMemoryThereIs_NamesTheSize()
    {
        var options = new SegmentOptions { Path = Ranks.NewPath(), Rank = 0, WorldSize = 2, Length = 1L << 45 };
        var refused = Assert.ThrowsExactly<CollectiveException>(() => SharedSegment.Join(options));
        StringAssert.Contains(refused.Message, "MiB free, expected 402,653,");
        Assert.IsFalse(File.Exists(options.Path));
    }

    [TestMethod]
    public async Task Join_OnASmallDisk_FitsOrNamesTheSizeAndLeavesNothing()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 4);
        var options = new SegmentOptions { Path = Path.Combine(disk.Folder, "segment"), Rank = 0, WorldSize = 1, StagingBytes = 4096, Length = 400_000 };
        SharedSegment.Join(options).Dispose();
        var refused = Assert.ThrowsExactly<CollectiveException>(() => SharedSegment.Join(options with { Length = 600_000 }));
        Assert.StartsWith($"Shared memory \"{disk.Folder}\" has 4.0 MiB free, expected 4.6 MiB for 600,000 parameters, the gradients of 1 ranks", refused.Message);
        Assert.IsEmpty(Directory.GetFiles(disk.Folder));
    }

    [TestMethod]
    public void Join_RankZeroNeverComes_TimesOut()
    {
        var options = new SegmentOptions { Path = Ranks.NewPath(), Rank = 1, WorldSize = 2, RendezvousTimeout = TimeSpan.FromMilliseconds(50) };
        StringAssert.Contains(Assert.ThrowsExactly<CollectiveTimeoutException>(() => SharedSegment.Join(options)).Message, "expected rank 0 to make it");
    }

    [TestMethod, DataRow(0), DataRow(1)]
    public void Join_Cancelled_LeavesNothing(int rank)
    {
        using var stop = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        var options = new SegmentOptions { Path = Ranks.NewPath(), Rank = rank, WorldSize = 2, RendezvousTimeout = Ranks.Bound };
        Assert.ThrowsExactly<OperationCanceledException>(() => SharedSegment.Join(options, stop.Token));
        Assert.IsFalse(File.Exists(options.Path));
    }

    [TestMethod]
    public void Abort_AfterDispose_DoesNothing()
    {
        var segment = SharedSegment.Join(new SegmentOptions { Path = Ranks.NewPath(), Rank = 0, WorldSize = 1 });
        segment.Dispose();
        segment.Abort();
    }

    [TestMethod, DataRow(10, 3, new long[] { 4, 3, 3 }), DataRow(2, 3, new long[] { 1, 1, 0 }), DataRow(0, 2, new long[] { 0, 0 })]
    public void Shard_AnySplit_CoversAllOnce(long length, int world, long[] counts)
    {
        var shards = Enumerable.Range(0, world).Select(r => Shard.Of(length, r, world)).ToArray();
        CollectionAssert.AreEqual(counts, shards.Select(s => s.Count).ToArray());
        Assert.AreEqual(0, shards[0].Start);
        Assert.AreEqual(length, shards[^1].End);
        for (var r = 1; r < world; r++)
            Assert.AreEqual(shards[r - 1].End, shards[r].Start);
    }

    protected override Exception?[] Run(int worldSize, Action<ICollective> body) => Ranks.RunCollective(worldSize, body);

    private static void JoinRefused(Func<SegmentOptions, SegmentOptions> configure, string expected)
    {
        var path = Ranks.NewPath();
        var failures = Ranks.Run(2, rank => SharedSegment.Join(configure(new SegmentOptions
        {
            Path = path,
            Rank = rank,
            WorldSize = 2,
            RendezvousTimeout = TimeSpan.FromSeconds(1),
        })).Dispose());
        StringAssert.Contains(failures[1]!.Message, expected);
        Assert.IsInstanceOfType<CollectiveTimeoutException>(failures[0]);
        Assert.IsFalse(File.Exists(path));
    }
}
