using MLDistributed.Protocol;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Native.Cuda;

namespace MLDistributed.Training.Loop;

/// <summary>
/// The host's memory that a GPU's rank copies from and to (<see cref="IFlatTensors.Staging"/>), page-locked: the driver then
/// copies straight, and not by way of a buffer of its own. Without it training is slower and the same.
/// </summary>
internal sealed class PinnedBuffers : IDisposable
{
    private readonly Stack<PinnedMemory> _pinned = new();

    private PinnedBuffers()
    {
    }

    /// <summary>Page-locks the buffers of a rank on a GPU; null on a CPU, which loads nothing, and where it cannot be, which the log says.</summary>
    /// <param name="start">The rank.</param>
    /// <param name="staging">The buffers.</param>
    /// <param name="bytes">Of each.</param>
    /// <param name="load">Loads CUDA's runtime.</param>
    /// <param name="reporter">Hears why not.</param>
    public static PinnedBuffers? Create(RankStart start, IReadOnlyList<nint> staging, long bytes, Func<ICudaRuntime> load, IRankReporter reporter)
    {
        if (start.Device != DeviceKind.Cuda || bytes == 0)
            return null;
        var buffers = new PinnedBuffers();
        try
        {
            var cuda = load();
            // Left so: the rank has one device, and without this the driver would make a context on the first.
            CudaException.Check(cuda, cuda.SetDevice(start.DeviceIndex), $"cudaSetDevice({start.DeviceIndex})");
            foreach (var memory in staging)
                buffers._pinned.Push(new PinnedMemory(cuda, memory, bytes));
            return buffers;
        }
        catch (Exception e) when (e is CudaException or DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            buffers.Dispose();
            reporter.Log(new LogLine
            {
                Level = LogLevel.Info,
                Message = $"Memory shared with cuda:{start.DeviceIndex} is not page-locked ({e.Message}), expected {staging.Count * bytes / 1048576.0:N1} MiB of it to be. " +
                    "Training goes on, with slower copies. Raise the limit of locked memory (ulimit -l) if it is what refuses.",
            });
            return null;
        }
    }

    /// <summary>Unlocks. The segment must still be mapped.</summary>
    public void Dispose()
    {
        while (_pinned.TryPop(out var memory))
            memory.Dispose();
    }
}
