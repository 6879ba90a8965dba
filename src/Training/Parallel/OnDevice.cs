using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Parallel;

/// <summary>One rank on one device: parameters, gradients and state are there, and the update is made there. The host's memory has room for copies.</summary>
internal sealed class OnDevice(JobSpec spec, SegmentOptions options, CancellationToken stop) : IParallelStrategy
{
    private readonly SharedMemoryCollective _collective = new(SharedSegment.Join(options, stop));
    private DeviceTensors? _tensors;

    public ICollective Collective => _collective;

    public SharedSegment Memory => _collective.Segment;

    public IFlatTensors CreateTensors(Device device) =>
        _tensors = new DeviceTensors(device, Memory, FlatOptimizer.StateNames(spec.Optimizer).Count, hasAverage: spec.Optimizer.AveragingDecay > 0);

    public IGradientStrategy CreateUpdate(FlatLayout layout, BatchSplit split) => new DeviceUpdate(_tensors!, layout, spec);

    public void Complete() { }

    public void Dispose() => _collective.Dispose();
}
