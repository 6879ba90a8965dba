using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Native.Cuda;

namespace Training.Tests.Loop;

/// <summary>Page-locked memory, against a stand-in of CUDA's runtime.</summary>
[TestClass]
public sealed unsafe class PinnedBuffersTests
{
    private const int Length = 5000;
    private readonly Recorder _reporter = new();

    [TestMethod]
    public void Create_OnAGpu_LocksGradientsAndParametersUntilDisposed()
    {
        using var segment = Cluster.Memory(Length);
        var cuda = new FakeCuda();
        var (gradients, parameters) = ((nint)segment.Gradients(0), (nint)segment.Parameters);

        var pinned = PinnedBuffers.Create(OnGpu(3), Staging(segment), 4 * Length, () => cuda, _reporter)!;
        CollectionAssert.AreEqual(new[] { "device 3", $"lock {gradients} 20000 1", $"lock {parameters} 20000 1" }, cuda.Calls);
        pinned.Dispose();
        pinned.Dispose();

        CollectionAssert.AreEqual(new[] { $"unlock {parameters}", $"unlock {gradients}" }, cuda.Calls[3..]);
        Assert.IsEmpty(_reporter.Logs);
    }

    [TestMethod]
    [DataRow(0, 0, "cudaSetDevice(3) gave error 100, \"error of 100\"", DisplayName = "the device")]
    [DataRow(1, 0, "cudaHostRegister of 20,000 bytes gave error 2, \"error of 2\"", DisplayName = "the first")]
    [DataRow(2, 1, "cudaHostRegister of 20,000 bytes gave error 2, \"error of 2\"", DisplayName = "the second")]
    public void Create_WhereItIsRefused_SaysWhyAndLeavesNothingLocked(int refusedCall, int locked, string reason)
    {
        using var segment = Cluster.Memory(Length);
        var cuda = new FakeCuda { RefusedCall = refusedCall };

        Assert.IsNull(PinnedBuffers.Create(OnGpu(3), Staging(segment), 4 * Length, () => cuda, _reporter));

        var log = _reporter.Logs.Single();
        Assert.AreEqual(LogLevel.Info, log.Level);
        StringAssert.StartsWith(log.Message, $"Memory shared with cuda:3 is not page-locked ({reason}), expected 0.0 MiB of it to be. Training goes on");
        Assert.AreEqual(locked, cuda.Calls.Count(c => c.StartsWith("unlock", StringComparison.Ordinal)));
        Assert.IsEmpty(cuda.Locked);
        Assert.Contains("clear", cuda.Calls, "libtorch would take the error for its own.");
    }

    [TestMethod]
    public void Create_WithoutTheRuntime_SaysSo()
    {
        if (TorchSharp.torch.cuda.is_available())
            Assert.Inconclusive("A CUDA device is here, and so is the runtime.");
        using var segment = Cluster.Memory(Length);

        Assert.IsNull(PinnedBuffers.Create(OnGpu(0), Staging(segment), 4 * Length, CudaRuntime.Load, _reporter));

        StringAssert.Contains(_reporter.Logs.Single().Message, "is not page-locked (libcudart is neither loaded nor beside libtorch)");
    }

    [TestMethod]
    public void Train_OnACpu_AsksForNoRuntime()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 64);
        var run = Cluster.Train(Cluster.Spec(), 2, folder["data"], configure: e => e.Value with { Cuda = () => throw new AssertFailedException("CUDA was asked for.") }).ShouldSucceed();
        Assert.IsTrue(run.Recorders.All(r => r.Logs.Count == 0));
    }

    [TestMethod]
    [DataRow("/usr/lib/libcudart.so.12", true)]
    [DataRow("/app/libcudart-218eec4c.so.12", true)]
    [DataRow("libcudart.so.13", true)]
    [DataRow("libcudart.so.12.8.90", true)]
    [DataRow("libcudart.so", true)]
    [DataRow("cudart64_12.dll", true)]
    [DataRow("cudart64_13.dll", true)]
    [DataRow("libcudart_static.a", false)]
    [DataRow("libcublas.so.12", false)]
    [DataRow("/libcudart.so.12/libtorch.so", false)]
    public void IsRuntime_OfAName_KnowsIt(string path, bool isRuntime) => Assert.AreEqual(isRuntime, CudaRuntime.IsRuntime(path));

    private static nint[] Staging(SharedSegment segment) => [(nint)segment.Gradients(0), (nint)segment.Parameters];

    private static RankStart OnGpu(int index) => new() { Device = DeviceKind.Cuda, DeviceIndex = index };

    private sealed class FakeCuda : ICudaRuntime
    {
        public int RefusedCall { get; init; } = -1;

        public List<string> Calls { get; } = [];

        public HashSet<nint> Locked { get; } = [];

        public int SetDevice(int index) => Refuses($"device {index}") ? 100 : 0;

        public int HostRegister(nint memory, nuint bytes, uint flags)
        {
            if (Refuses($"lock {memory} {bytes} {flags}"))
                return 2;
            Assert.IsTrue(Locked.Add(memory));
            return 0;
        }

        public int HostUnregister(nint memory)
        {
            Calls.Add($"unlock {memory}");
            // Of a segment that is gone this would end the process.
            _ = *(byte*)memory;
            return Locked.Remove(memory) ? 0 : 1;
        }

        public int GetMemory(out nuint free, out nuint total) => throw Unused();

        public int CreateStream(out nint stream) => throw Unused();

        public int DestroyStream(nint stream) => throw Unused();

        public int CreateEvent(out nint place) => throw Unused();

        public int DestroyEvent(nint place) => throw Unused();

        public int RecordEvent(nint place, nint stream) => throw Unused();

        public int WaitForEvent(nint stream, nint place) => throw Unused();

        public int QueryEvent(nint place) => throw Unused();

        public int SynchronizeEvent(nint place) => throw Unused();

        public int CopyToDevice(nint to, nint from, nuint bytes, nint stream) => throw Unused();

        public int GetLastError()
        {
            Calls.Add("clear");
            return 0;
        }

        public string GetErrorString(int error) => $"error of {error}";

        private static AssertFailedException Unused() => new("Page-locked memory needs none of it.");

        private bool Refuses(string call)
        {
            Calls.Add(call);
            return Calls.Count - 1 == RefusedCall;
        }
    }
}
