using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.BitExact;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;
using MLDistributed.Training.Profiling;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Parallel;

/// <summary>All ranks on one host: one copy of parameters and state, which each updates its slice of, in place.</summary>
internal sealed class SharedHost(JobSpec spec, SegmentOptions options, StepProfile? profile, CancellationToken stop) : IParallelStrategy
{
    private readonly SharedMemoryCollective _collective = new(SharedSegment.Join(options, stop));

    public ICollective Collective => _collective;

    public SharedSegment Memory => _collective.Segment;

    public unsafe IFlatTensors CreateTensors(Device device) => new HostTensors(device, Memory, FlatOptimizer.Average(spec.Optimizer, Memory));

    public IGradientStrategy CreateUpdate(FlatLayout layout, BatchSplit split) =>
        spec.BitExact is null ? new SharedUpdate(_collective, layout, spec, profile) : new BitExactUpdate(_collective, Topology.OfCpus(_collective.WorldSize), host: 0, leaders: null, layout, spec);

    // What it has written stays.
    public void Complete() { }

    public void Dispose() => _collective.Dispose();
}
