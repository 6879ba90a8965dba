using System.Numerics;
using System.Runtime.CompilerServices;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Optimization;

/// <summary>Stochastic gradient descent with momentum, Nesterov's too, and L2 weight decay; as torch.optim.SGD.</summary>
internal sealed unsafe class SgdOptimizer(SgdSpec spec, long sliceLength, double weightDecay) : FlatOptimizer(sliceLength, weightDecay)
{
    private readonly float[] _momentum = spec.Momentum > 0 ? new float[sliceLength] : [];
    private float _rate;

    public override IReadOnlyList<(string Name, float[] Values)> State => _momentum.Length > 0 || spec.Momentum > 0 ? [("momentum", _momentum)] : [];

    public override void Begin(double learningRate, long step) => _rate = (float)learningRate;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // from the first step on: it is not called often enough to be soon
    protected override void Compute(float* parameters, float* gradients, long start, int count, bool decays)
    {
        var decay = decays ? (float)WeightDecay : 0;
        var momentum = (float)spec.Momentum;
        var i = 0;
        fixed (float* state = _momentum)
        {
            var velocity = state + (spec.Momentum > 0 ? start : 0);
            for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
            {
                var p = Vector.Load(parameters + i);
                var g = Vector.Load(gradients + i) + All(decay) * p;
                if (spec.Momentum > 0)
                {
                    var v = All(momentum) * Vector.Load(velocity + i) + g;
                    v.Store(velocity + i);
                    g = spec.Nesterov ? g + All(momentum) * v : v;
                }

                (p - All(_rate) * g).Store(gradients + i);
            }

            for (; i < count; i++)
            {
                var g = gradients[i] + decay * parameters[i];
                if (spec.Momentum > 0)
                {
                    var v = velocity[i] = momentum * velocity[i] + g;
                    g = spec.Nesterov ? g + momentum * v : v;
                }

                gradients[i] = parameters[i] - _rate * g;
            }
        }
    }
}
