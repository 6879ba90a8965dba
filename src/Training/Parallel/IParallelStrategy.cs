using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Parallel;

/// <summary>
/// Where a job's ranks keep parameters, gradients and the optimizer's state, and by which way they reach one another.
/// Made when the ranks meet, disposed when this one leaves.
/// </summary>
internal interface IParallelStrategy : IDisposable
{
    /// <summary>All ranks of the job.</summary>
    ICollective Collective { get; }

    /// <summary>Parameters, gradients and optimizer state that this rank sees: its host's, or its own where ranks share none; where a device has them, room for copies.</summary>
    SharedSegment Memory { get; }

    /// <summary>Makes the tensors that this rank computes on, once the parameters are in <see cref="Memory"/>. Once; the caller disposes them.</summary>
    IFlatTensors CreateTensors(Device device);

    /// <summary>Makes what turns a step's gradients into the next parameters. Once, after <see cref="CreateTensors"/>.</summary>
    IGradientStrategy CreateUpdate(FlatLayout layout, BatchSplit split);

    /// <summary>How layers have the whole batch's statistics. After <see cref="CreateUpdate"/>.</summary>
    StatisticsJoin Statistics => new(Collective);

    /// <summary>What is behind a failure of this rank, where the strategy knows more than who was told of it.</summary>
    Exception CauseOf(Exception failure) => failure;

    /// <summary>After the last step: returns when no other rank needs anything of this one's any more.</summary>
    void Complete();
}
