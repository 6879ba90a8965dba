using System.Numerics;
using System.Runtime.CompilerServices;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Models;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// An optimizer over the flat parameters of a segment, any part of them by any rank: one pass over memory, element by
/// element, so that the result does not depend on how the parameters are sliced. Its state is the segment's.
/// </summary>
internal abstract unsafe class FlatOptimizer(SharedSegment segment, OptimizerSpec spec)
{
    private const string AverageName = "average";

    // The average begins with the first step's parameters, and is over the last tenth of the steps until that is as long as asked for.
    private const double WarmUpSteps = 10;
    private readonly float* _average = Average(spec, segment);
    private float _rest;

    protected SharedSegment Segment { get; } = segment;

    /// <summary>The options', which a parameter's group may replace.</summary>
    protected double WeightDecay { get; } = spec.WeightDecay;

    /// <summary>What each state is called in checkpoints: the segment's, in this order.</summary>
    public static IReadOnlyList<string> StateNames(OptimizerSpec spec)
    {
        string[] own = spec.OptimizerCase switch
        {
            OptimizerSpec.OptimizerOneofCase.Sgd => spec.Sgd.Momentum > 0 ? ["momentum"] : [],
            OptimizerSpec.OptimizerOneofCase.Adamw or OptimizerSpec.OptimizerOneofCase.Adam => ["first_moment", "second_moment"],
            _ => throw NotSet(),
        };
        return spec.AveragingDecay > 0 ? [.. own, AverageName] : own;
    }

    /// <summary>The average of the parameters over the steps, as long as they are; null: none is kept.</summary>
    public static float* Average(OptimizerSpec spec, SharedSegment segment) => spec.AveragingDecay > 0 ? segment.State(StateNames(spec).Count - 1) : null;

    /// <summary>What a step's parameters count in their average.</summary>
    public static double AverageRest(OptimizerSpec spec, long step) => Math.Max(1 - spec.AveragingDecay, WarmUpSteps / (step - 1 + WarmUpSteps));

    /// <param name="spec">Which optimizer.</param>
    /// <param name="segment">With as many states as <see cref="StateNames"/> has.</param>
    public static FlatOptimizer Create(OptimizerSpec spec, SharedSegment segment) => spec.OptimizerCase switch
    {
        OptimizerSpec.OptimizerOneofCase.Sgd => new SgdOptimizer(spec.Sgd, segment, spec),
        OptimizerSpec.OptimizerOneofCase.Adamw => new AdamOptimizer(spec.Adamw, segment, spec),
        OptimizerSpec.OptimizerOneofCase.Adam => new AdamOptimizer(spec.Adam, segment, spec),
        _ => throw NotSet(),
    };

    /// <summary>Says which step comes.</summary>
    /// <param name="learningRate">Of this step.</param>
    /// <param name="step">From 1.</param>
    public void Begin(double learningRate, long step)
    {
        _rest = (float)AverageRest(spec, step);
        Prepare(learningRate, step);
    }

    /// <summary>Updates some parameters. In blocks that stay in the first-level cache.</summary>
    /// <param name="start">The first of them.</param>
    /// <param name="gradients">Theirs; written over.</param>
    /// <param name="count">How many.</param>
    /// <param name="tensor">Which they are of.</param>
    public void Update(long start, float* gradients, int count, FlatTensor tensor)
    {
        Compute(start, gradients, count, tensor);
        // Every rank has read these lines, and a core must own a line to write it. A copy asks for many at once; stores
        // that alternate with those of the state wait for one after the other, three times as long.
        new ReadOnlySpan<float>(gradients, count).CopyTo(new Span<float>(Segment.Parameters + start, count));
        if (_average is not null)
            AddToAverage(_average + start, gradients, count);
    }

    /// <summary>As <see cref="Begin"/>.</summary>
    protected abstract void Prepare(double learningRate, long step);

    /// <summary>Writes the new parameters over the gradients. Arguments as <see cref="Update"/>.</summary>
    protected abstract void Compute(long start, float* gradients, int count, FlatTensor tensor);

    protected static Vector<float> All(float value) => new(value);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddToAverage(float* average, float* parameters, int count)
    {
        var i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            var a = Vector.Load(average + i);
            (a + All(_rest) * (Vector.Load(parameters + i) - a)).Store(average + i);
        }

        for (; i < count; i++)
            average[i] += _rest * (parameters[i] - average[i]);
    }

    private static FormatException NotSet() => new("Optimizer is not set, expected SGD, AdamW or Adam.");
}
