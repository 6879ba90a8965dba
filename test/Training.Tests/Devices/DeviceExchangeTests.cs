using System.Runtime.InteropServices;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Nccl;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Tests.Shared;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Native.Cuda;
using Training.Tests.Loop;

namespace Training.Tests.Devices;

/// <summary>Sums over devices, against stand-ins of NCCL and CUDA's runtime: ranks are threads, devices the host's memory.</summary>
[TestClass]
public sealed unsafe class DeviceExchangeTests
{
    private const int Length = 10_001;

    private static readonly TimeSpan s_short = TimeSpan.FromMilliseconds(300);

    [TestMethod, DataRow(2), DataRow(3)]
    public void AllReduce_ManyTimes_SumsInOrderOfTheQueue(int world)
    {
        var failures = Run(world, Cluster.Bound, (rank, _, exchange, values) =>
        {
            for (var round = 1; round <= 100; round++)
            {
                values.Fill(rank + round);
                exchange.AllReduce(Address(values), 5000);
                exchange.AllReduce(Address(values[5000..]), Length - 5000);
                exchange.Join();
                // As a device would: what is computed from here on waits.
                Assert.IsFalse(values.ContainsAnyExcept((float)(world * round + world * (world - 1) / 2)), $"Round {round}");
            }

            exchange.ThrowIfFailed();
        });
        foreach (var failure in failures)
            Assert.IsNull(failure, failure?.ToString());
    }

    [TestMethod, DataRow(1), DataRow(2), DataRow(3)]
    public void ReduceScatter_AndAllGather_GiveEachItsSumsAndAllOfThem(int world)
    {
        var failures = Run(world, Cluster.Bound, (rank, _, exchange, memory) =>
        {
            for (var round = 1; round <= 20; round++)
            {
                var values = memory[..(Length / world * world)];
                var own = values.Slice(rank * (values.Length / world), values.Length / world);
                for (var i = 0; i < values.Length; i++)
                    values[i] = (rank + 1) * (i % 1000 + round);
                exchange.ReduceScatter(Address(values), own.Length);
                exchange.Join();
                var first = rank * own.Length;
                for (var i = 0; i < own.Length; i++)
                    Assert.AreEqual((world * (world + 1) / 2) * ((first + i) % 1000 + round), own[i]);
                exchange.AllGather(Address(values), own.Length);
                exchange.Join();
                for (var i = 0; i < values.Length; i++)
                    Assert.AreEqual((world * (world + 1) / 2) * (i % 1000 + round), values[i]);
            }

            exchange.ThrowIfFailed();
        });
        foreach (var failure in failures)
            Assert.IsNull(failure, failure?.ToString());
    }

    [TestMethod]
    public void Join_ARankDoesNotBringItsOwn_EndsAtTheLimit()
    {
        var failures = Run(2, s_short, (rank, _, exchange, values) =>
        {
            Loop(exchange, values, rounds: rank == 0 ? int.MaxValue : 3);
            Assert.IsTrue(SpinWait.SpinUntil(() => exchange.Failure is not null, Cluster.Bound), "The other rank waits for ever.");
            exchange.ThrowIfFailed();
        });
        Assert.IsInstanceOfType<CollectiveTimeoutException>(failures[0]);
        StringAssert.Contains(failures[0]!.Message, "sums over devices are not done after 0.3 s on rank 0, expected all 2 ranks");
        Assert.IsInstanceOfType<CollectiveException>(failures[1]);
    }

    [TestMethod]
    public void Abort_OfARankInTheHostsMemory_EndsTheOthersWaitForTheDevice()
    {
        var failures = Run(3, TimeSpan.FromHours(1), (rank, host, exchange, values) =>
        {
            Loop(exchange, values, rounds: rank == 1 ? 3 : int.MaxValue);
            host.Abort();
        });
        Assert.IsNull(failures[1], failures[1]?.ToString());
        foreach (var rank in (int[])[0, 2])
        {
            Assert.IsInstanceOfType<CollectiveAbortedException>(failures[rank]);
            StringAssert.Contains(failures[rank]!.Message, $"Rank {rank} was stopped because rank 1 aborted");
        }
    }

    [TestMethod]
    public void Error_ThatNcclFindsByItself_EndsAllRanks()
    {
        NcclStandIn.Require();
        NcclStandIn.Fail(rank: 1, after: 5);
        try
        {
            var failures = Run(2, TimeSpan.FromHours(1), (_, _, exchange, values) => Loop(exchange, values, int.MaxValue));
            Assert.IsInstanceOfType<CollectiveNetworkException>(failures[1]);
            StringAssert.StartsWith(failures[1]!.Message, "NCCL has error 6, \"remote process exited or there was a network error\", expected all ranks to go on.");
            Assert.IsInstanceOfType<CollectiveAbortedException>(failures[0]);
        }
        finally
        {
            NcclStandIn.Fail(-1);
        }
    }

    private static void Loop(DeviceExchange exchange, Span<float> values, int rounds)
    {
        for (var round = 0; round < rounds; round++)
        {
            exchange.AllReduce(Address(values), Length);
            exchange.Join();
            exchange.ThrowIfFailed();
        }
    }

    private static nint Address(Span<float> values) => (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref MemoryMarshal.GetReference(values));

    private static Exception?[] Run(int world, TimeSpan limit, RankBody body)
    {
        var library = NcclStandIn.Require();
        var nccl = NcclLibrary.Open(library);
        var (id, path) = (nccl.NewId(), Path.Combine("/dev/shm", $"mldist-test-{Guid.NewGuid():N}"));
        var failures = new Exception?[world];
        var threads = Enumerable.Range(0, world).Select(rank => new Thread(() =>
        {
            var values = (float*)NativeMemory.Alloc(Length, sizeof(float));
            try
            {
                using var host = new SharedMemoryCollective(SharedSegment.Join(new SegmentOptions { Path = path, Rank = rank, WorldSize = world }));
                var ranks = NcclCommunicator.Join(nccl, id, rank, world, Cluster.Bound, () => host.IsAborted);
                using var exchange = new DeviceExchange(CudaRuntime.Of(library), ranks, ranks, host, host, rank, limit);
                body(rank, host, exchange, new Span<float>(values, Length));
                exchange.Complete();
            }
            catch (Exception e)
            {
                failures[rank] = e;
            }
            finally
            {
                NativeMemory.Free(values);
            }
        })).ToArray();
        foreach (var thread in threads)
            thread.Start();
        foreach (var thread in threads)
            Assert.IsTrue(thread.Join(Cluster.Bound), "A rank hangs.");
        Assert.AreEqual(0, NcclStandIn.Alive);
        return failures;
    }

    private delegate void RankBody(int rank, SharedMemoryCollective host, DeviceExchange exchange, Span<float> values);
}
