using System.Numerics;
using System.Runtime.CompilerServices;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Models;

namespace MLDistributed.Training.Optimization;

/// <summary>Stochastic gradient descent with momentum, Nesterov's too, and L2 weight decay; as torch.optim.SGD.</summary>
internal sealed unsafe class SgdOptimizer(SgdSpec spec, SharedSegment segment, OptimizerSpec optimizer) : FlatOptimizer(segment, optimizer)
{
    private double _learningRate;

    protected override void Prepare(double learningRate, long step) => _learningRate = learningRate;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // from the first step on: it is not called often enough to be soon
    protected override void Compute(long start, float* gradients, int count, FlatTensor tensor)
    {
        var parameters = Segment.Parameters + start;
        var decay = (float)tensor.DecayOf(WeightDecay);
        var rate = (float)(_learningRate * tensor.RateFactor);
        var momentum = (float)spec.Momentum;
        var velocity = spec.Momentum > 0 ? Segment.State(0) + start : null;
        var i = 0;
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

            (p - All(rate) * g).Store(gradients + i);
        }

        for (; i < count; i++)
        {
            var g = gradients[i] + decay * parameters[i];
            if (spec.Momentum > 0)
            {
                var v = velocity[i] = momentum * velocity[i] + g;
                g = spec.Nesterov ? g + momentum * v : v;
            }

            gradients[i] = parameters[i] - rate * g;
        }
    }
}
