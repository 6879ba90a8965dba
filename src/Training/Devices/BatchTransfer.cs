using MLDistributed.Training.Native;
using MLDistributed.Training.Native.Cuda;
using TorchSharp;
using static TorchSharp.torch;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Devices;

/// <summary>
/// A batch's way to a device, on a stream of its own beside the step that computes: from the host's page-locked memory into
/// memory of the device that is used again and again.
/// </summary>
/// <remarks>
/// Two events keep the order, without anyone waiting for the whole device: the host's memory is not written before it has
/// been copied, and the device's not before the step that uses it is over.
/// </remarks>
internal sealed unsafe class BatchTransfer : IDisposable
{
    private const nint Computing = 0; // libtorch's stream

    private readonly ICudaRuntime _cuda;
    private readonly int _index;
    private readonly List<Part> _parts = [];
    private nint _stream;
    private nint _copied;
    private nint _used;

    private BatchTransfer(ICudaRuntime cuda, int index) => (_cuda, _index) = (cuda, index);

    /// <summary>Makes the way; null where CUDA refuses, and batches go as libtorch copies them, which waits.</summary>
    /// <param name="cuda">CUDA's runtime.</param>
    /// <param name="device">Where batches go.</param>
    /// <param name="hosts">A batch's tensors in the host's memory, rows first; they outlive this.</param>
    public static BatchTransfer? Create(ICudaRuntime cuda, Device device, IEnumerable<Tensor> hosts)
    {
        var transfer = new BatchTransfer(cuda, Math.Max(0, device.index));
        try
        {
            transfer.Check(cuda.SetDevice(transfer._index), "cudaSetDevice");
            transfer.Check(cuda.CreateStream(out var stream), "cudaStreamCreateWithFlags");
            transfer._stream = stream;
            transfer.Check(cuda.CreateEvent(out var copied), "cudaEventCreateWithFlags");
            transfer._copied = copied;
            transfer.Check(cuda.CreateEvent(out var used), "cudaEventCreateWithFlags");
            transfer._used = used;
            foreach (var host in hosts)
                transfer._parts.Add(new Part(cuda, host, device));
            // What libtorch gave may still be in use by work that is queued.
            transfer.Release();
            return transfer;
        }
        catch (CudaException)
        {
            transfer.Dispose();
            return null;
        }
    }

    /// <summary>Before the host's memory is written; from any thread. Waits for the copy of what was there.</summary>
    public void AwaitHost()
    {
        Check(_cuda.SetDevice(_index), "cudaSetDevice");
        Check(_cuda.SynchronizeEvent(_copied), "cudaEventSynchronize");
    }

    /// <summary>Queues the copy of the first rows; from any thread, after <see cref="AwaitHost"/>.</summary>
    public void Send(long rows)
    {
        Check(_cuda.WaitForEvent(_stream, _used), "cudaStreamWaitEvent");
        foreach (var part in _parts)
            Check(rows == 0 ? 0 : _cuda.CopyToDevice(part.To, part.From, (nuint)(rows * part.RowBytes), _stream), "cudaMemcpyAsync");
        Check(_cuda.RecordEvent(_copied, _stream), "cudaEventRecord");
    }

    /// <summary>What is computed from now on waits for the copy.</summary>
    public void Await() => Check(_cuda.WaitForEvent(Computing, _copied), "cudaStreamWaitEvent");

    /// <summary>What has been queued by now is the last that reads the batch.</summary>
    public void Release() => Check(_cuda.RecordEvent(_used, Computing), "cudaEventRecord");

    /// <summary>The device's side of one of the host's tensors.</summary>
    public Tensor OnDevice(Tensor host) => _parts.Find(p => ReferenceEquals(p.Host, host))!.Device;

    public void Dispose()
    {
        // Nothing may be on its way to memory that is given back, or still be read there.
        if (_copied != 0)
            _ = _cuda.SynchronizeEvent(_copied);
        _parts.ForEach(p => p.Dispose());
        if (_copied != 0)
            _ = _cuda.DestroyEvent(_copied);
        if (_used != 0)
            _ = _cuda.DestroyEvent(_used);
        if (_stream != 0)
            _ = _cuda.DestroyStream(_stream);
        (_stream, _copied, _used) = (0, 0, 0);
    }

    private void Check(int result, string call) => CudaException.Check(_cuda, result, call);

    /// <summary>One tensor of the batch, on both sides.</summary>
    private sealed class Part : IDisposable
    {
        private readonly PinnedMemory? _pinned;

        public Part(ICudaRuntime cuda, Tensor host, Device device)
        {
            Host = host;
            RowBytes = host.element_size() * host.numel() / Math.Max(1, host.shape[0]);
            _pinned = Pin(cuda, host);
            Device = empty_like(host, device: device).DetachFromDisposeScope();
        }

        public Tensor Host { get; }

        public Tensor Device { get; }

        public long RowBytes { get; }

        public nint From => (nint)TorchMemory.Data(Host);

        public nint To => (nint)TorchMemory.Data(Device);

        public void Dispose()
        {
            _pinned?.Dispose();
            Device.Dispose();
        }

        // Copies from other memory are right too, and wait.
        private static PinnedMemory? Pin(ICudaRuntime cuda, Tensor host)
        {
            try
            {
                return new PinnedMemory(cuda, (nint)TorchMemory.Data(host), host.element_size() * host.numel());
            }
            catch (CudaException)
            {
                return null;
            }
        }
    }
}
