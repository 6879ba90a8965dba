using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// The update of one rank whose everything is on its device: queued behind backward, without a device sync. Losses and norms
/// stay there until <see cref="Settle"/> reads those of many steps at once.
/// </summary>
internal sealed unsafe class DeviceUpdate(DeviceTensors tensors, FlatLayout layout, JobSpec spec) : IGradientStrategy
{
    private readonly DeviceOptimizer _optimizer = new(spec.Optimizer, tensors, layout);
    private readonly List<QueuedStep> _steps = [];
    private List<Tensor> _losses = [];
    private double _weightSum;

    public long StepsTaken { get; set; }

    public Action<long>? GradientsReady => null;

    public Shard SliceOf(int rank) => new(0, layout.ParameterLength);

    public void Add(int part, Tensor loss, double weightSum)
    {
        _losses.Add(Keep(loss));
        _weightSum += weightSum;
    }

    public StepTotals? Step(double learningRate)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var step = new QueuedStep(_losses, _weightSum, Scale(_weightSum > 0 ? 1 / _weightSum : 0));
        _steps.Add(step);
        (_losses, _weightSum) = ([], 0);
        _optimizer.Update(learningRate, ++StepsTaken);
        tensors.Gradients.zero_();
        return null;
    }

    public void AwaitParameters() { }

    public IReadOnlyList<StepTotals> Settle()
    {
        if (_steps.Count == 0)
            return [];
        using var scope = NewDisposeScope();
        var numbers = stack([.. _steps.SelectMany(s => s.Numbers)]).cpu(); // device sync here
        var next = (float*)TorchMemory.Data(numbers);
        var totals = new List<StepTotals>(_steps.Count);
        foreach (var step in _steps)
        {
            var loss = 0.0;
            for (var i = 0; i < step.Losses.Count; i++)
                loss += *next++;
            var sum = new StepSum();
            sum.Add(0, loss, step.WeightSum);
            var isFinite = step.Norm is null || float.IsFinite(*next++);
            totals.Add(isFinite || sum.Totals.FirstNonFiniteRank >= 0 ? sum.Totals : sum.Totals with { Loss = double.NaN, FirstNonFiniteRank = 0 });
        }

        Forget();
        return totals;
    }

    public void Dispose()
    {
        Forget();
        _losses.ForEach(l => l.Dispose());
        _optimizer.Dispose();
    }

    // Makes the sum of gradients their mean, clipped; returns the norm where it was wanted.
    private Tensor? Scale(double scale)
    {
        using Scalar factor = scale;
        if (spec.GradientClipNorm == 0)
        {
            tensors.Gradients.mul_(factor);
            return null;
        }

        using Scalar least = GradientClip.Epsilon, most = spec.GradientClipNorm, whole = 1;
        var norm = tensors.Gradients.norm().mul_(factor);
        // As long as the norm is not finite nothing good comes of it, and the loss of this step is told as NaN.
        tensors.Gradients.mul_(norm.add(least).reciprocal_().mul_(most).clamp_max_(whole).mul_(factor));
        return Keep(norm);
    }

    // Without its graph, and beyond the step's scope.
    private static Tensor Keep(Tensor number) => number.detach().DetachFromDisposeScope();

    private void Forget()
    {
        foreach (var number in _steps.SelectMany(s => s.Numbers))
            number.Dispose();
        _steps.Clear();
    }

    /// <param name="Losses">Of the parts, each one number on the device.</param>
    /// <param name="WeightSum">Of the global batch.</param>
    /// <param name="Norm">Of the gradient, where it is clipped.</param>
    private sealed record QueuedStep(List<Tensor> Losses, double WeightSum, Tensor? Norm)
    {
        public IEnumerable<Tensor> Numbers => Norm is null ? Losses : [.. Losses, Norm];
    }
}
