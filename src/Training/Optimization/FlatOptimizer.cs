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

    /// <summary>Updates some parameters. In blocks that stay in the first-level cache.</summary>
    /// <param name="parameters">The first of them.</param>
    /// <param name="gradients">Theirs; written over.</param>
    /// <param name="start">Where they are in the slice.</param>
    /// <param name="count">How many.</param>
    /// <param name="decays">Whether weight decay applies to them.</param>
    public void Update(float* parameters, float* gradients, long start, int count, bool decays)
    {
        Compute(parameters, gradients, start, count, decays);
        // Every rank has read these lines, and a core must own a line to write it. A copy asks for many at once; stores
        // that alternate with those of the state wait for one after the other, three times as long.
        new ReadOnlySpan<float>(gradients, count).CopyTo(new Span<float>(parameters, count));
    }

    /// <summary>Writes the new parameters over the gradients. Arguments as <see cref="Update"/>.</summary>
    protected abstract void Compute(float* parameters, float* gradients, long start, int count, bool decays);

    protected static Vector<float> All(float value) => new(value);
}
