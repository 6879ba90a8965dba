using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// A batch normalisation layer of a module with the statistics of the global batch (Ioffe and Szegedy 2015): this comes in the
/// place of what the layer computes, which is kept in its other mode meanwhile. Its running statistics are the same on all ranks.
/// </summary>
internal sealed class JoinedBatchNorm
{
    private readonly TorchSharp.Modules.BatchNorm _layer;
    private readonly ForwardPass _pass;
    private readonly LayerStatistics _statistics;
    private readonly int _features;
    private readonly Scalar _epsilon;

    /// <param name="layer">The layer; it keeps running statistics.</param>
    /// <param name="pass">The step.</param>
    /// <param name="statistics">The layer's.</param>
    public JoinedBatchNorm(TorchSharp.Modules.BatchNorm layer, ForwardPass pass, LayerStatistics statistics)
    {
        (_layer, _pass, _statistics, _features) = (layer, pass, statistics, (int)layer.running_mean!.numel());
        _epsilon = layer.eps;
    }

    /// <summary>What a training step has in the place of the layer's own; null where none is.</summary>
    public Tensor? Forward(Tensor input)
    {
        if (!_pass.IsTraining)
            return null;
        if (_statistics.TryNormalize(input, _layer.weight, _layer.bias, Momentum(), _layer.eps) is { } whole)
            return whole;
        // All but the channels'.
        var axes = Enumerable.Range(0, (int)input.dim()).Where(d => d != 1).Select(d => (long)d).ToArray();
        var shape = Enumerable.Range(0, (int)input.dim()).Select(d => d == 1 ? (long)_features : 1).ToArray();
        Statistics statistics;
        using (no_grad())
        using (NewDisposeScope())
        {
            var moments = _statistics.Join(input, axes, hasRows: _pass.Rows.Count > 0, Momentum());
            _pass.Keep(moments.Mean);
            if (moments.Count is { } total)
                _pass.Keep(total);
            statistics = new Statistics(_pass, moments, _pass.Keep(moments.Mean.view(shape)), _pass.Keep(moments.Variance.add(_epsilon).rsqrt().view(shape)), axes, shape);
        }

        var normal = Normalization.On(input, statistics);
        return _layer.weight is { } weight ? addcmul(_layer.bias!.view(shape), normal, weight.view(shape), 1) : normal;
    }

    // Without a momentum it is the mean over all steps.
    private double Momentum() => _layer.momentum is { } momentum and > 0 ? momentum : 1.0 / (_pass.Step + 1);

    /// <param name="Pass">The step.</param>
    /// <param name="Moments">The layer's, over all ranks.</param>
    /// <param name="Center">The channels' means, in a shape that fits the input.</param>
    /// <param name="Inverse">One over their deviations, in that shape.</param>
    /// <param name="Axes">What is summed over.</param>
    /// <param name="Shape">The channels' shape beside the input's.</param>
    private sealed record Statistics(ForwardPass Pass, BatchMoments Moments, Tensor Center, Tensor Inverse, long[] Axes, long[] Shape);

    /// <summary>(x - mean) / deviation, whose mean and deviation depend on the x of all ranks.</summary>
    private sealed class Normalization : autograd.SingleTensorFunction<Normalization>
    {
        private const string Saved = "statistics";

        public override string Name => nameof(Normalization);

        public static Tensor On(Tensor input, Statistics statistics) => apply(input, statistics);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var (input, statistics) = ((Tensor)vars[0], (Statistics)vars[1]);
            var normal = input.sub(statistics.Center).mul_(statistics.Inverse);
            ctx.save_data(Saved, statistics);
            ctx.save_for_backward([normal]);
            return normal;
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            var statistics = (Statistics)ctx.get_data(Saved);
            using var scope = NewDisposeScope();
            try
            {
                return [InputGradient(statistics, ctx.get_saved_variables()[0], grad_output).MoveToOuterDisposeScope(), null!];
            }
            catch (Exception e)
            {
                // Through libtorch's own code nothing may be thrown: the step throws it after backward.
                statistics.Pass.Failure ??= e;
                return [zeros_like(grad_output).MoveToOuterDisposeScope(), null!];
            }
        }

        private static Tensor InputGradient(Statistics statistics, Tensor normal, Tensor gradient)
        {
            var pass = statistics.Pass;
            // After a failure the others wait for nothing: they have failed, or will hear of it.
            if (pass.Failure is not null)
                return zeros_like(gradient);
            var hasRows = pass.Rows.Count > 0;
            var (mean, projection) = statistics.Moments.Means(hasRows ? gradient.sum(statistics.Axes) : null, hasRows ? gradient.mul(normal).sum(statistics.Axes) : null);
            // A row that stands in has no part in what the others' depend on.
            if (!hasRows)
                return zeros_like(gradient);
            return gradient.sub(mean.view(statistics.Shape)).sub_(normal.mul(projection.view(statistics.Shape))).mul_(statistics.Inverse);
        }
    }
}
