using MLDistributed.Collectives;
using MLDistributed.Collectives.Hierarchy;
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
    private readonly SharedMemoryCollective _local;
    private readonly ICollective? _hosts;

    /// <param name="spec">The job.</param>
    /// <param name="options">This host's memory.</param>
    /// <param name="place">Where this rank is.</param>
    /// <param name="stop">Ends the wait for the host's other ranks.</param>
    public Hybrid(JobSpec spec, SegmentOptions options, HostPlace place, CancellationToken stop)
    {
        (_spec, _place) = (spec, place);
        _local = new SharedMemoryCollective(SharedSegment.Join(options with { FirstRank = place.Topology.Hosts[place.Host].FirstRank }, stop));
        try
        {
            _hosts = place.LocalRank == 0 ? place.MeetLeaders() : null;
            // The others wait for their leader here, and not with their first step's limit.
            _local.Barrier(options.RendezvousTimeout);
            Collective = new HierarchicalCollective(place.Topology, place.Rank, _local, _hosts);
        }
        catch
        {
            _local.Abort();
            _local.Dispose();
            throw;
        }
    }

    public ICollective Collective { get; }

    public SharedSegment Memory => _local.Segment;

    public unsafe IFlatTensors CreateTensors(Device device) => new HostTensors(device, Memory, FlatOptimizer.Average(_spec.Optimizer, Memory));

    public IGradientStrategy CreateUpdate(FlatLayout layout, BatchSplit split) => _spec.BitExact is null
        ? new HybridUpdate(_place.Topology, _local, _hosts, _place.Host, layout, _spec)
        : new BitExactUpdate(_local, _place.Topology, _place.Host, _hosts, layout, _spec);

    public void Complete() => Collective.Barrier();

    public void Dispose() => Collective.Dispose();
}
