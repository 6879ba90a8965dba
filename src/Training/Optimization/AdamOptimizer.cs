using System.Numerics;
using System.Runtime.CompilerServices;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Models;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// Adam (Kingma and Ba 2015): with decoupled weight decay (Loshchilov and Hutter 2019) as torch.optim.AdamW, with an L2
/// penalty in the gradient as torch.optim.Adam.
/// </summary>
internal sealed unsafe class AdamOptimizer : FlatOptimizer
{
    private readonly double _beta1;
    private readonly double _beta2;
    private readonly double _epsilon;
    private readonly bool _isDecoupled;
    private double _learningRate;
    private double _correctedRate;
    private float _secondCorrection;

    public AdamOptimizer(AdamWSpec spec, SharedSegment segment, OptimizerSpec optimizer) : this(spec.Beta1, spec.Beta2, spec.Epsilon, isDecoupled: true, segment, optimizer) { }

    public AdamOptimizer(AdamSpec spec, SharedSegment segment, OptimizerSpec optimizer) : this(spec.Beta1, spec.Beta2, spec.Epsilon, isDecoupled: false, segment, optimizer) { }

    private AdamOptimizer(double beta1, double beta2, double epsilon, bool isDecoupled, SharedSegment segment, OptimizerSpec optimizer) : base(segment, optimizer) =>
        (_beta1, _beta2, _epsilon, _isDecoupled) = (beta1, beta2, epsilon, isDecoupled);

    protected override void Prepare(double learningRate, long step)
    {
        _learningRate = learningRate;
        _correctedRate = learningRate / (1 - Math.Pow(_beta1, step));
        _secondCorrection = (float)(1 / Math.Sqrt(1 - Math.Pow(_beta2, step)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // from the first step on: it is not called often enough to be soon
    protected override void Compute(long start, float* gradients, int count, FlatTensor tensor)
    {
        var parameters = Segment.Parameters + start;
        var decay = tensor.DecayOf(WeightDecay);
        var rate = (float)(_correctedRate * tensor.RateFactor);
        var shrink = _isDecoupled ? (float)(1 - _learningRate * tensor.RateFactor * decay) : 1;
        var penalty = _isDecoupled ? 0 : (float)decay;
        var (beta1, beta2, epsilon) = ((float)_beta1, (float)_beta2, (float)_epsilon);
        var (rest1, rest2) = ((float)(1 - _beta1), (float)(1 - _beta2));
        var m = Segment.State(0) + start;
        var v = Segment.State(1) + start;
        var i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            var p = Vector.Load(parameters + i);
            var g = Vector.Load(gradients + i) + All(penalty) * p;
            var m1 = All(beta1) * Vector.Load(m + i) + All(rest1) * g;
            var v1 = All(beta2) * Vector.Load(v + i) + All(rest2) * (g * g);
            m1.Store(m + i);
            v1.Store(v + i);
            var deviation = Vector.SquareRoot(v1) * All(_secondCorrection) + All(epsilon);
            (p * All(shrink) - All(rate) * (m1 / deviation)).Store(gradients + i);
        }

        for (; i < count; i++)
        {
            var g = gradients[i] + penalty * parameters[i];
            m[i] = beta1 * m[i] + rest1 * g;
            v[i] = beta2 * v[i] + rest2 * (g * g);
            var deviation = MathF.Sqrt(v[i]) * _secondCorrection + epsilon;
            gradients[i] = parameters[i] * shrink - rate * (m[i] / deviation);
        }
    }
}
