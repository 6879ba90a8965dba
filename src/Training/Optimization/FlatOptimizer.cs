using System.Numerics;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// An optimizer over the flat parameters of a segment, any part of them by any rank: one pass over memory, element by
/// element, so that the result does not depend on how the parameters are sliced. Its state is the segment's.
/// </summary>
internal abstract unsafe class FlatOptimizer(SharedSegment segment, double weightDecay)
{
    protected SharedSegment Segment { get; } = segment;

    protected double WeightDecay { get; } = weightDecay;

    /// <summary>What each state is called in checkpoints: the segment's, in this order.</summary>
    public static IReadOnlyList<string> StateNames(OptimizerSpec spec) => spec.OptimizerCase switch
    {
        OptimizerSpec.OptimizerOneofCase.Sgd => spec.Sgd.Momentum > 0 ? ["momentum"] : [],
        OptimizerSpec.OptimizerOneofCase.Adamw or OptimizerSpec.OptimizerOneofCase.Adam => ["first_moment", "second_moment"],
        _ => throw NotSet(),
    };

    /// <param name="spec">Which optimizer.</param>
    /// <param name="segment">With as many states as <see cref="StateNames"/> has.</param>
    public static FlatOptimizer Create(OptimizerSpec spec, SharedSegment segment) => spec.OptimizerCase switch
    {
        OptimizerSpec.OptimizerOneofCase.Sgd => new SgdOptimizer(spec.Sgd, segment, spec.WeightDecay),
        OptimizerSpec.OptimizerOneofCase.Adamw => new AdamOptimizer(spec.Adamw, segment, spec.WeightDecay),
        OptimizerSpec.OptimizerOneofCase.Adam => new AdamOptimizer(spec.Adam, segment, spec.WeightDecay),
        _ => throw NotSet(),
    };

    /// <summary>Says which step comes.</summary>
    /// <param name="learningRate">Of this step.</param>
    /// <param name="step">From 1.</param>
    public abstract void Begin(double learningRate, long step);

    /// <summary>Updates some parameters. In blocks that stay in the first-level cache.</summary>
    /// <param name="start">The first of them.</param>
    /// <param name="gradients">Theirs; written over.</param>
    /// <param name="count">How many.</param>
    /// <param name="decays">Whether weight decay applies to them.</param>
    public void Update(long start, float* gradients, int count, bool decays)
    {
        Compute(start, gradients, count, decays);
        // Every rank has read these lines, and a core must own a line to write it. A copy asks for many at once; stores
        // that alternate with those of the state wait for one after the other, three times as long.
        new ReadOnlySpan<float>(gradients, count).CopyTo(new Span<float>(Segment.Parameters + start, count));
    }

    /// <summary>Writes the new parameters over the gradients. Arguments as <see cref="Update"/>.</summary>
    protected abstract void Compute(long start, float* gradients, int count, bool decays);

    protected static Vector<float> All(float value) => new(value);

    private static FormatException NotSet() => new("Optimizer is not set, expected SGD, AdamW or Adam.");
}
