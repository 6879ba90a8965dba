using System.Numerics;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Optimization;

/// <summary>Adam with decoupled weight decay (Loshchilov and Hutter 2019); as torch.optim.AdamW.</summary>
internal sealed unsafe class AdamWOptimizer(AdamWSpec spec, long sliceLength, double weightDecay) : FlatOptimizer(sliceLength, weightDecay)
{
    private readonly float[] _first = new float[sliceLength];
    private readonly float[] _second = new float[sliceLength];
    private float _shrink;
    private float _rate;
    private float _secondCorrection;

    public override IReadOnlyList<(string Name, float[] Values)> State => [("first_moment", _first), ("second_moment", _second)];

    public override void Begin(double learningRate, long step)
    {
        _shrink = (float)(1 - learningRate * WeightDecay);
        _rate = (float)(learningRate / (1 - Math.Pow(spec.Beta1, step)));
        _secondCorrection = (float)(1 / Math.Sqrt(1 - Math.Pow(spec.Beta2, step)));
    }

    public override void Update(float* parameters, float* gradients, long start, long count, bool decays)
    {
        var shrink = decays ? _shrink : 1;
        var (beta1, beta2, epsilon) = ((float)spec.Beta1, (float)spec.Beta2, (float)spec.Epsilon);
        var (rest1, rest2) = ((float)(1 - spec.Beta1), (float)(1 - spec.Beta2));
        var i = 0L;
        fixed (float* first = _first, second = _second)
        {
            var m = first + start;
            var v = second + start;
            for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
            {
                var g = Vector.Load(gradients + i);
                var m1 = All(beta1) * Vector.Load(m + i) + All(rest1) * g;
                var v1 = All(beta2) * Vector.Load(v + i) + All(rest2) * (g * g);
                m1.Store(m + i);
                v1.Store(v + i);
                var deviation = Vector.SquareRoot(v1) * All(_secondCorrection) + All(epsilon);
                (Vector.Load(parameters + i) * All(shrink) - All(_rate) * (m1 / deviation)).Store(parameters + i);
            }

            for (; i < count; i++)
            {
                var g = gradients[i];
                m[i] = beta1 * m[i] + rest1 * g;
                v[i] = beta2 * v[i] + rest2 * (g * g);
                var deviation = MathF.Sqrt(v[i]) * _secondCorrection + epsilon;
                parameters[i] = parameters[i] * shrink - _rate * (m[i] / deviation);
            }
        }
    }
}
