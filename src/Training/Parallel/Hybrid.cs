using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.BitExact;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Parallel;

/// <summary>Ranks of several hosts: each host has one copy of parameters and state, which its ranks share; the hosts' leaders meet over a network.</summary>
internal sealed class Hybrid : IParallelStrategy
{
    private readonly JobSpec _spec;
    private readonly HostPlace _place;
    private readonly HostRanks _ranks;

    /// <param name="spec">The job.</param>
    /// <param name="options">This host's memory.</param>
    /// <param name="place">Where this rank is.</param>
    /// <param name="stop">Ends the wait for the host's other ranks.</param>
    public Hybrid(JobSpec spec, SegmentOptions options, HostPlace place, CancellationToken stop)
    {
        (_spec, _place) = (spec, place);
        _ranks = HostRanks.Meet(options, place, stop);
    }

    public ICollective Collective => _ranks.All;

    public SharedSegment Memory => _ranks.Local.Segment;

    public unsafe IFlatTensors CreateTensors(Device device) => new HostTensors(device, Memory, FlatOptimizer.Average(_spec.Optimizer, Memory));

    public IGradientStrategy CreateUpdate(FlatLayout layout, BatchSplit split) => _spec.BitExact is null
        ? new HybridUpdate(_place.Topology, _ranks.Local, _ranks.Leaders, _place.Host, layout, _spec)
        : new BitExactUpdate(_ranks.Local, _place.Topology, _place.Host, _ranks.Leaders, layout, _spec);

    public void Complete() => _ranks.Complete();

    public void Dispose() => _ranks.Dispose();
}
