using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Checkpoints;

/// <summary>What lives on a rank while it trains, as far as it is kept: where it lies, and whose part of it is this rank's.</summary>
internal unsafe interface ITrainedState
{
    RankStart Start { get; }

    JobSpec Spec { get; }

    FlatLayout Layout { get; }

    /// <summary>Rank 0 of the job.</summary>
    bool IsFirst { get; }

    /// <summary>Whether this rank fills the parameters' memory: the first of those that share it.</summary>
    bool IsFirstOfMemory { get; }

    /// <summary>Shared by the ranks of a host; a rank's own where ranks meet over a transport.</summary>
    SharedSegment Segment { get; }

    float* Parameters { get; }

    /// <summary>Brings parameters and state to <see cref="Segment"/>, where devices have them. Before they are kept; all ranks of a host together.</summary>
    void ToHost();

    IGradientStrategy Strategy { get; }

    /// <summary>This rank's part of what is kept.</summary>
    Shard Slice { get; }

    ITrainedModule Model { get; }

    /// <summary>The best weights so far, of the first rank of each memory, as any host may be the one that is left; null on the others and before the first validation.</summary>
    ModelWeights? Best { get; set; }
}
