using System.Numerics;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// An optimizer over one slice of the flat parameters: one pass over memory, element by element, so that the result does
/// not depend on how the parameters are sliced.
/// </summary>
internal abstract unsafe class FlatOptimizer(long sliceLength, double weightDecay)
{
    /// <summary>The state's names in checkpoints, each as long as the slice.</summary>
    public abstract IReadOnlyList<(string Name, float[] Values)> State { get; }

    protected long SliceLength { get; } = sliceLength;

    protected double WeightDecay { get; } = weightDecay;

    public static FlatOptimizer Create(OptimizerSpec spec, long sliceLength) => spec.OptimizerCase switch
    {
        OptimizerSpec.OptimizerOneofCase.Sgd => new SgdOptimizer(spec.Sgd, sliceLength, spec.WeightDecay),
        OptimizerSpec.OptimizerOneofCase.Adamw => new AdamOptimizer(spec.Adamw, sliceLength, spec.WeightDecay),
        OptimizerSpec.OptimizerOneofCase.Adam => new AdamOptimizer(spec.Adam, sliceLength, spec.WeightDecay),
        _ => throw new FormatException("Optimizer is not set, expected SGD, AdamW or Adam."),
    };

    /// <summary>Says which step comes.</summary>
    /// <param name="learningRate">Of this step.</param>
    /// <param name="step">From 1.</param>
    public abstract void Begin(double learningRate, long step);

    /// <summary>Updates <paramref name="count"/> parameters.</summary>
    /// <param name="parameters">The first of them.</param>
    /// <param name="gradients">Theirs.</param>
    /// <param name="start">Where they are in the slice.</param>
    /// <param name="count">How many.</param>
    /// <param name="decays">Whether weight decay applies to them.</param>
    public abstract void Update(float* parameters, float* gradients, long start, long count, bool decays);

    protected static Vector<float> All(float value) => new(value);
}
