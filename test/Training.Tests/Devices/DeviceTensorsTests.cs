using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Training;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Native;
using TorchSharp;
using Training.Tests.Loop;

namespace Training.Tests.Devices;

[TestClass]
public sealed class DeviceTensorsTests
{
    private const int Length = 11;

    // Of blocks of three parts of two, of which the last ends in one that is nobody's.
    [TestMethod]
    public unsafe void ToHost_AllRanks_BringEachItsPartAndTakeItBack()
    {
        RankTraining.Preload();
        var path = Path.Combine(Path.GetTempPath(), $"mldist-test-{Guid.NewGuid():N}");
        var failures = new Exception?[3];
        var threads = Enumerable.Range(0, 3).Select(rank => new Thread(() =>
        {
            try
            {
                using var host = new SharedMemoryCollective(SharedSegment.Join(new SegmentOptions { Path = path, Rank = rank, WorldSize = 3, Length = Length, GradientBuffers = 0, StateBuffers = 2 }));
                var shards = DeviceShards.Of(Length, rank, 3, 6);
                using var tensors = new DeviceTensors(torch.CPU, host, shards, states: 2, hasAverage: true);
                CollectionAssert.AreEqual((long[])[2, 2], tensors.States[0].shape);

                tensors.States[0].fill_(rank);
                tensors.States[1].fill_(10 + rank);
                tensors.OwnParameters.fill_(20 + rank);
                tensors.ToHost();

                foreach (var (first, memory) in new[] { (0, (nint)host.Segment.State(0)), (10, (nint)host.Segment.State(1)), (20, (nint)host.Segment.Parameters) })
                    CollectionAssert.AreEqual(new[] { 0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2 }.Select(r => (float)(first + r)).ToArray(), new Span<float>((void*)memory, Length).ToArray());
                host.Barrier();
                tensors.States[0].zero_();
                tensors.FromHost();
                Assert.IsTrue(Numbers(tensors.States[0])[..(rank < 2 ? 4 : 3)].All(v => v == rank));
                Assert.AreEqual(21, Numbers(tensors.Parameters)[2], "All of them are on each.");
                host.Barrier();

                tensors.States[1].fill_(30 + rank);
                tensors.WeightsToHost();
                Assert.AreEqual(32, host.Segment.State(1)[Length - 1]);
            }
            catch (Exception e)
            {
                failures[rank] = e;
            }
        })).ToArray();
        foreach (var thread in threads)
            thread.Start();
        foreach (var thread in threads)
            Assert.IsTrue(thread.Join(Cluster.Bound), "A rank hangs.");
        foreach (var failure in failures)
            Assert.IsNull(failure, failure?.ToString());

        static float[] Numbers(torch.Tensor tensor) => new Span<float>((float*)TorchMemory.Data(tensor), (int)tensor.numel()).ToArray();
    }
}
