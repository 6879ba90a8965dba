using System.Diagnostics;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Nccl;
using MLDistributed.Tests.Shared;

namespace Collectives.Tests.Nccl;

/// <summary>
/// How ranks meet and part, against a stand-in of NCCL. What they sum is device memory, on streams, so that the contract of
/// collectives over spans is not theirs: Training.Tests has the sums.
/// </summary>
[TestClass, DoNotParallelize]
public sealed class NcclCommunicatorTests
{
    private static readonly TimeSpan s_short = TimeSpan.FromMilliseconds(300);

    [TestMethod, DataRow(1), DataRow(2), DataRow(4)]
    public void Join_AllRanks_MeetAndPart(int world)
    {
        var nccl = NcclLibrary.Open(NcclStandIn.Require());
        var id = nccl.NewId();
        Ranks.Run(world, rank =>
        {
            using var ranks = Join(nccl, id, rank, world, Ranks.Bound);
            Assert.IsNull(ranks.Error());
        }).ShouldSucceed();
        ShouldBeGone();
    }

    [TestMethod]
    public void Join_ARankDoesNotCome_EndsAtTheLimit()
    {
        var nccl = NcclLibrary.Open(NcclStandIn.Require());
        var id = nccl.NewId();
        var failures = Ranks.Run(2, rank => Join(nccl, id, rank, worldSize: 3, s_short));
        foreach (var failure in failures)
            Assert.IsInstanceOfType<CollectiveTimeoutException>(failure);
        StringAssert.StartsWith(failures[1]!.Message, "NCCL waited 0.3 s for rank 1 of 3 to meet the others");
        ShouldBeGone();
    }

    [TestMethod]
    public void Join_RanksAreStopped_EndsLongBeforeTheLimit()
    {
        var nccl = NcclLibrary.Open(NcclStandIn.Require());
        var id = nccl.NewId();
        var began = Stopwatch.GetTimestamp();
        Assert.Throws<CollectiveAbortedException>(() => NcclCommunicator.Join(nccl, id, 0, 2, TimeSpan.FromHours(1), () => Stopwatch.GetElapsedTime(began) > s_short));
        ShouldBeGone();
    }

    [TestMethod]
    public void Dispose_ARankHasGone_LeavesWithoutIt()
    {
        var nccl = NcclLibrary.Open(NcclStandIn.Require());
        var id = nccl.NewId();
        Ranks.Run(2, rank =>
        {
            var ranks = Join(nccl, id, rank, 2, Ranks.Bound);
            if (rank == 0)
                ranks.Abort();
            ranks.Dispose();
            Assert.Throws<CollectiveAbortedException>(() => ranks.AllReduce(0, 1, 0));
        }).ShouldSucceed();
        ShouldBeGone();
    }

    [TestMethod]
    public void Open_AnotherLibrary_IsRefused()
    {
        StringAssert.Contains(Assert.Throws<DllNotFoundException>(() => NcclLibrary.Open("/nowhere/libnccl.so.2")).Message, "\"/nowhere/libnccl.so.2\" cannot be loaded");
        Assert.Throws<EntryPointNotFoundException>(() => NcclLibrary.Open("libc.so.6"));
    }

    private static NcclCommunicator Join(NcclLibrary nccl, byte[] id, int rank, int worldSize, TimeSpan limit) => NcclCommunicator.Join(nccl, id, rank, worldSize, limit, () => false);

    private static void ShouldBeGone()
    {
        Assert.AreEqual(0, NcclStandIn.Alive);
        Assert.IsEmpty(Directory.GetFiles("/dev/shm", $"mldist-nccl-{Environment.ProcessId}-*"));
    }
}
