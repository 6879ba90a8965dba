using MLDistributed.Collectives;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Commits;

/// <summary>
/// Where everything lies in a <see cref="CommitFile"/>: two states (parameters, each state of the optimizer, running
/// statistics), the best weights twice, and room for two descriptions. It knows nothing of ranks.
/// </summary>
internal sealed class CommitLayout(long parameters, int optimizerStates, long buffers)
{
    // A hole, of which only what is written takes memory: the history of 100,000 epochs has some 10 MB.
    private const long MetadataBytes = 1L << 31;

    public CommitLayout(ITrainedState state)
        : this(state.Layout.ParameterLength, FlatOptimizer.StateNames(state.Spec.Optimizer).Count, state.Layout.BufferLength)
    {
    }

    /// <summary>Parameters, and each state of the optimizer.</summary>
    public int Parts => 1 + optimizerStates;

    /// <summary>The memory that commits take, with the best weights where there are some.</summary>
    public long Bytes(bool hasBest) => checked(2 * StateBytes + (hasBest ? 2 * BestBytes : 0));

    /// <summary>Where a slice of a part is.</summary>
    public long PartAt(int half, int part, Shard slice) => StateAt(half) + (part * parameters + slice.Start) * sizeof(float);

    public long BuffersAt(int half) => StateAt(half) + Parts * parameters * sizeof(float);

    /// <summary>Where best parameters are; their running statistics follow.</summary>
    public long BestAt(int place) => StateAt(2) + place * BestBytes;

    public long MetadataAt(int half) => BestAt(2) + half * MetadataBytes;

    private long StateBytes => checked((Parts * parameters + buffers) * sizeof(float));

    private long BestBytes => checked((parameters + buffers) * sizeof(float));

    private long StateAt(int half) => CommitFile.DataAt + half * StateBytes;
}
