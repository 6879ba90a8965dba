using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// A batch normalisation layer of a module with the statistics of the global batch (Ioffe and Szegedy 2015): this comes in the
/// place of what the layer computes, which is kept in its other mode meanwhile. Its running statistics are the same on all ranks.
/// </summary>
internal sealed unsafe class JoinedBatchNorm
{
    private readonly TorchSharp.Modules.BatchNorm _layer;
    private readonly ForwardPass _pass;
    private readonly Memory<float> _runningMean;
    private readonly Memory<float> _runningVariance;
    private readonly int _features;
    private readonly Scalar _epsilon;
    private readonly double[] _mine;
    private readonly double[] _all;

    /// <param name="layer">The layer; it keeps running statistics.</param>
    /// <param name="pass">The step.</param>
    /// <param name="runningMean">Where its running means are.</param>
    /// <param name="runningVariance">Where its running variances are.</param>
    public JoinedBatchNorm(TorchSharp.Modules.BatchNorm layer, ForwardPass pass, Memory<float> runningMean, Memory<float> runningVariance)
    {
        (_layer, _pass, _runningMean, _runningVariance, _features) = (layer, pass, runningMean, runningVariance, runningMean.Length);
        _epsilon = layer.eps;
        _mine = new double[1 + (2 * _features)];
        _all = new double[_mine.Length * pass.Collective.WorldSize];
    }

    /// <summary>What a training step has in the place of the layer's own; null where none is.</summary>
    public Tensor? Forward(Tensor input)
    {
        if (!_pass.IsTraining)
            return null;
        // All but the channels'.
        var axes = Enumerable.Range(0, (int)input.dim()).Where(d => d != 1).Select(d => (long)d).ToArray();
        var shape = Enumerable.Range(0, (int)input.dim()).Select(d => d == 1 ? (long)_features : 1).ToArray();
        var (mean, variance) = (new float[_features], new float[_features]);
        double count;
        Tensor center, inverse;
        using (no_grad())
        {
            using (var scope = NewDisposeScope())
            {
                _mine.AsSpan().Clear();
                if (_pass.Rows.Count > 0)
                {
                    var own = input.mean(axes, keepdim: true);
                    _mine[0] = input.numel() / _features;
                    ReadTo(own, _mine.AsSpan(1, _features));
                    ReadTo(input.sub(own).square().sum(axes), _mine.AsSpan(1 + _features));
                }
            }

            _pass.Collective.AllGather(_mine, _all);
            count = Combine(mean, variance);
            center = _pass.Keep(tensor(mean, device: input.device).view(shape));
            inverse = _pass.Keep(tensor(variance, device: input.device).add(_epsilon).rsqrt().view(shape));
        }

        var normal = Normalization.On(input, new Statistics(_pass, center, inverse, axes, shape, count));
        return _layer.weight is { } weight ? addcmul(_layer.bias!.view(shape), normal, weight.view(shape), 1) : normal;
    }

    // Chan, Golub and LeVeque 1979: means and squared deviations of parts, combined in rank order on every rank alike.
    private double Combine(float[] mean, float[] variance)
    {
        var (ranks, size) = (_pass.Collective.WorldSize, _mine.Length);
        var count = 0.0;
        for (var rank = 0; rank < ranks; rank++)
            count += _all[rank * size];
        var momentum = Momentum();
        for (var i = 1; i <= _features; i++)
        {
            var (sum, squares) = (0.0, 0.0);
            for (var rank = 0; rank < ranks; rank++)
                sum += _all[(rank * size) + i] * _all[rank * size];
            var center = sum / count;
            for (var rank = 0; rank < ranks; rank++)
            {
                var offset = _all[(rank * size) + i] - center;
                squares += _all[(rank * size) + _features + i] + (offset * offset * _all[rank * size]);
            }

            (mean[i - 1], variance[i - 1]) = ((float)center, (float)(squares / count));
            ref var runningMean = ref _runningMean.Span[i - 1];
            ref var runningVariance = ref _runningVariance.Span[i - 1];
            runningMean += (float)(momentum * (center - runningMean));
            runningVariance += (float)(momentum * ((squares / Math.Max(count - 1, 1)) - runningVariance));
        }

        return count;
    }

    // Without a momentum it is the mean over all steps.
    private double Momentum() => _layer.momentum is { } momentum and > 0 ? momentum : 1.0 / (_pass.Step + 1);

    private static void ReadTo(Tensor values, Span<double> into)
    {
        var local = values.cpu().contiguous();
        var from = new ReadOnlySpan<float>(TorchMemory.Data(local), into.Length);
        for (var i = 0; i < into.Length; i++)
            into[i] = from[i];
        GC.KeepAlive(local);
    }

    /// <param name="Pass">The step.</param>
    /// <param name="Center">The channels' means, in a shape that fits the input.</param>
    /// <param name="Inverse">One over their deviations, in that shape.</param>
    /// <param name="Axes">What is summed over.</param>
    /// <param name="Shape">The channels' shape beside the input's.</param>
    /// <param name="Count">Numbers of a channel in the whole batch.</param>
    private sealed record Statistics(ForwardPass Pass, Tensor Center, Tensor Inverse, long[] Axes, long[] Shape, double Count);

    /// <summary>(x - mean) / deviation, whose mean and deviation depend on the x of all ranks.</summary>
    private sealed class Normalization : autograd.SingleTensorFunction<Normalization>
    {
        private const string Saved = "statistics";
        private const string Normal = "normal";

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
            var features = statistics.Shape[1];
            var sums = new double[2 * features];
            if (pass.Rows.Count > 0)
            {
                ReadTo(gradient.sum(statistics.Axes), sums.AsSpan(0, (int)features));
                ReadTo(gradient.mul(normal).sum(statistics.Axes), sums.AsSpan((int)features));
            }

            // After a failure the others wait for nothing: they have failed, or will hear of it.
            if (pass.Failure is null)
                pass.Collective.AllReduce(sums);

            // A row that stands in has no part in what the others' depend on.
            if (pass.Rows.Count == 0)
                return zeros_like(gradient);
            var mean = Mean(0);
            var projection = Mean((int)features);
            return gradient.sub(mean).sub_(normal.mul(projection)).mul_(statistics.Inverse);

            Tensor Mean(int start) => tensor(Array.ConvertAll(sums[start..(start + (int)features)], sum => (float)(sum / statistics.Count)), device: gradient.device).view(statistics.Shape);
        }
    }
}
