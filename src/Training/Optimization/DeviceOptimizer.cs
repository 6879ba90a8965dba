using MLDistributed.Protocol;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// The optimizers of <see cref="FlatOptimizer"/> as a few operations over this rank's part of flat tensors, each a kernel: 3 to 10 a step, and one for each option,
/// whatever the number of parameters. No device sync.
/// </summary>
internal sealed class DeviceOptimizer : IDisposable
{
    private static readonly Scalar s_one = 1;

    private readonly OptimizerSpec _spec;
    private readonly DeviceTensors _tensors;

    // The decay of each parameter, as the few that do not decay lie between those that do; null where none does.
    private readonly Tensor? _decay;

    // The factor of each parameter's learning rate; null where all are 1.
    private readonly Tensor? _rates;

    public DeviceOptimizer(OptimizerSpec spec, DeviceTensors tensors, FlatLayout layout)
    {
        (_spec, _tensors) = (spec, tensors);
        // What is decoupled decays at the parameter's own rate.
        _decay = Each(p => p.DecayOf(spec.WeightDecay) * (spec.Adamw is null ? 1 : p.RateFactor), but: 0);
        _rates = Each(p => p.RateFactor, but: 1);

        Tensor? Each(Func<FlatTensor, double> value, double but)
        {
            if (layout.Parameters.All(p => value(p) == but))
                return null;
            using var scope = NewDisposeScope();
            var all = full([tensors.Shards.BlockCount, tensors.Shards.PartLength], but, device: tensors.Parameters.device).DetachFromDisposeScope();
            for (var block = 0L; block < tensors.Shards.BlockCount; block++)
            {
                var part = tensors.Shards.Part(block);
                foreach (var parameter in layout.Parameters.Where(p => value(p) != but && p.Start < part.End && p.Start + p.Length > part.Start))
                {
                    var from = Math.Max(part.Start, parameter.Start);
                    all.select(0, block).narrow(0, from - part.Start, Math.Min(part.End, parameter.Start + parameter.Length) - from).fill_(value(parameter));
                }
            }

            return all;
        }
    }

    /// <summary>Vectors as long as the states that it keeps beside them.</summary>
    public static int VectorsOf(OptimizerSpec spec, FlatLayout layout) =>
        (layout.Parameters.Any(p => p.DecayOf(spec.WeightDecay) != 0) ? 1 : 0) + (layout.Parameters.Any(p => p.RateFactor != 1) ? 1 : 0);

    /// <summary>Updates this rank's parameters by their gradients, which are written over.</summary>
    /// <param name="learningRate">Of this step.</param>
    /// <param name="step">From 1.</param>
    public void Update(double learningRate, long step)
    {
        if (_spec.Sgd is { } sgd)
            Descend(sgd, learningRate);
        else if (_spec.Adamw is { } adamw)
            Adapt(adamw.Beta1, adamw.Beta2, adamw.Epsilon, isDecoupled: true, learningRate, step);
        else
            Adapt(_spec.Adam.Beta1, _spec.Adam.Beta2, _spec.Adam.Epsilon, isDecoupled: false, learningRate, step);
        if (_spec.AveragingDecay == 0)
            return;
        var rest = FlatOptimizer.AverageRest(_spec, step);
        using Scalar keep = 1 - rest, take = rest;
        _tensors.States[^1].mul_(keep).add_(_tensors.OwnParameters, take);
    }

    public void Dispose()
    {
        _decay?.Dispose();
        _rates?.Dispose();
    }

    private void Descend(SgdSpec sgd, double learningRate)
    {
        var (parameters, gradients) = (_tensors.OwnParameters, _tensors.OwnGradients);
        using Scalar down = -learningRate, momentum = sgd.Momentum;
        if (_decay is not null)
            gradients.addcmul_(parameters, _decay, s_one);
        if (sgd.Momentum == 0)
        {
            Descend(gradients);
            return;
        }

        var velocity = _tensors.States[0].mul_(momentum).add_(gradients, s_one);
        Descend(sgd.Nesterov ? gradients.add_(velocity, momentum) : velocity);

        void Descend(Tensor by)
        {
            if (_rates is null)
                parameters.add_(by, down);
            else
                parameters.addcmul_(by, _rates, down);
        }
    }

    private void Adapt(double beta1, double beta2, double epsilon, bool isDecoupled, double learningRate, long step)
    {
        var (parameters, gradients) = (_tensors.OwnParameters, _tensors.OwnGradients);
        // The second moment's correction is a factor of the deviation, which the epsilon and the rate take over.
        var correction = 1 / Math.Sqrt(1 - Math.Pow(beta2, step));
        using Scalar keep1 = beta1, rest1 = 1 - beta1, keep2 = beta2, rest2 = 1 - beta2, least = epsilon / correction;
        using Scalar down = -learningRate / (1 - Math.Pow(beta1, step)) / correction, shrink = -learningRate;
        if (_decay is not null && isDecoupled)
            parameters.addcmul_(parameters, _decay, shrink);
        else if (_decay is not null)
            gradients.addcmul_(parameters, _decay, s_one);
        var first = _tensors.States[0].mul_(keep1).add_(gradients, rest1);
        var second = _tensors.States[1].mul_(keep2).addcmul_(gradients, gradients, rest2);
        var deviation = gradients.copy_(second).sqrt_().add_(least);
        parameters.addcdiv_(first, _rates is null ? deviation : deviation.div_(_rates), down);
    }
}
