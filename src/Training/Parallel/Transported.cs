using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Parallel;

/// <summary>Ranks that share no memory: each has the whole, and makes the same update to it.</summary>
/// <param name="spec">The job.</param>
/// <param name="options">This rank's own memory.</param>
/// <param name="transport">What joins the ranks; disposed with this.</param>
/// <param name="stop">Ends the wait for the memory.</param>
internal sealed class Transported(JobSpec spec, SegmentOptions options, Func<ICollective> transport, CancellationToken stop) : IParallelStrategy
{
    public ICollective Collective { get; } = transport();

    public SharedSegment Memory { get; } = SharedSegment.Join(options, stop);

    public unsafe IFlatTensors CreateTensors(Device device) => new HostTensors(device, Memory, FlatOptimizer.Average(spec.Optimizer, Memory));

    public IGradientStrategy CreateUpdate(FlatLayout layout, BatchSplit split) => new OverlappedUpdate(Collective, Memory, layout, spec, split);

    // The last values may still be on their way.
    public void Complete() => Collective.Barrier();

    public void Dispose()
    {
        Collective.Dispose();
        Memory.Dispose();
    }
}
