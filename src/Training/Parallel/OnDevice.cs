using System.Runtime.InteropServices;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Nccl;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native.Cuda;
using MLDistributed.Training.Optimization;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Parallel;

/// <summary>
/// Each rank on a device of its own: parameters, gradients and state are there, and the update is made there. The host's memory
/// has room for copies; several ranks meet in it, and sum their gradients from device to device.
/// </summary>
/// <param name="spec">The job.</param>
/// <param name="options">The memory of the ranks' host.</param>
/// <param name="link">What joins their devices; null: there is one rank.</param>
/// <param name="deviceIndex">This rank's.</param>
/// <param name="bucketLength">Gradients that are summed at a time.</param>
/// <param name="stop">Ends the wait for the others.</param>
internal sealed class OnDevice(JobSpec spec, SegmentOptions options, DeviceLink? link, int deviceIndex, long bucketLength, CancellationToken stop) : IParallelStrategy
{
    private readonly SharedMemoryCollective _collective = new(SharedSegment.Join(options, stop));
    private DeviceTensors? _tensors;
    private DeviceExchange? _exchange;

    public ICollective Collective => _collective;

    public SharedSegment Memory => _collective.Segment;

    public IFlatTensors CreateTensors(Device device) =>
        _tensors = new DeviceTensors(device, Memory, FlatOptimizer.StateNames(spec.Optimizer).Count, hasAverage: spec.Optimizer.AveragingDecay > 0);

    public IGradientStrategy CreateUpdate(FlatLayout layout, BatchSplit split)
    {
        _exchange = link is null ? null : Meet(link);
        return new DeviceUpdate(_tensors!, _collective, _exchange, layout, spec, split, bucketLength);
    }

    // What a rank is told of another's abort may be this one's own.
    public Exception CauseOf(Exception failure) => failure is CollectiveAbortedException && _exchange?.Failure is { } cause ? cause : failure;

    // Nobody leaves while another is at sums.
    public void Complete()
    {
        _collective.Barrier();
        _exchange?.Complete();
    }

    public void Dispose()
    {
        _exchange?.Dispose();
        _collective.Dispose();
    }

    // The first rank's id is NCCL's rendezvous; it is as secret as the memory that it goes through.
    private DeviceExchange Meet(DeviceLink link)
    {
        CudaException.Check(link.Cuda, link.Cuda.SetDevice(deviceIndex), $"cudaSetDevice({deviceIndex})");
        var id = new float[NcclLibrary.IdBytes / sizeof(float)];
        if (_collective.Rank == 0)
            link.Nccl.NewId().CopyTo(MemoryMarshal.AsBytes(id.AsSpan()));
        // Rank 0 alone has made the first weights, and each has locked its pages.
        _collective.Barrier(options.RendezvousTimeout);
        _collective.Broadcast(id, 0);
        var ranks = NcclCommunicator.Join(link.Nccl, MemoryMarshal.AsBytes(id.AsSpan()), _collective.Rank, _collective.WorldSize, options.RendezvousTimeout, () => _collective.IsAborted || stop.IsCancellationRequested);
        try
        {
            return new DeviceExchange(link.Cuda, ranks, _collective, deviceIndex, options.Timeout);
        }
        catch
        {
            ranks.Abort();
            throw;
        }
    }
}
