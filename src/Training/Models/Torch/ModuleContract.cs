using System.Reflection;
using Microsoft.ML.Distributed;
using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>What a module of a user's own computes of its training itself: losses, steps and metrics, brought into the form of sums over rows.</summary>
internal sealed class ModuleContract
{
    private const BindingFlags Hidden = BindingFlags.NonPublic | BindingFlags.Static;
    private readonly nn.Module _module;
    private readonly ModuleRow _row;
    private readonly string _name;
    private readonly Func<nn.Module, object, object, Tensor, Tensor>? _loss;
    private readonly Func<nn.Module, object, object, Tensor, int, long, Tensor>? _step;
    private readonly Func<nn.Module, object, object, Tensor, IReadOnlyDictionary<string, Tensor>>? _metrics;

    /// <param name="module">The module.</param>
    /// <param name="row">What a row is to it.</param>
    public ModuleContract(nn.Module module, ModuleRow row)
    {
        (_module, _row, _name) = (module, row, ModuleTensors.NameOf(module));
        var types = row.Contract(module.GetType());
        if (types.Loss.IsInstanceOfType(module))
            _loss = types.Loss.IsGenericType ? Typed<Func<nn.Module, object, object, Tensor, Tensor>>(nameof(LossOf), types.Loss) : (m, outputs, labels, weights) => ((IModuleLoss)m).Loss((Tensor)outputs, (Tensor)labels, weights);
        if (types.Step.IsInstanceOfType(module))
            _step = types.Step.IsGenericType ? Typed<Func<nn.Module, object, object, Tensor, int, long, Tensor>>(nameof(StepOf), types.Step)
                : (m, inputs, labels, weights, epoch, step) => ((ITrainingStep)m).TrainingStep(new TrainingBatch((Tensor)inputs, (Tensor)labels, weights, epoch, step));
        if (types.Metrics.IsInstanceOfType(module))
            _metrics = types.Metrics.IsGenericType ? Typed<Func<nn.Module, object, object, Tensor, IReadOnlyDictionary<string, Tensor>>>(nameof(MetricsOf), types.Metrics)
                : (m, outputs, labels, weights) => ((IModuleMetrics)m).Metrics((Tensor)outputs, (Tensor)labels, weights);
    }

    public bool HasLoss => _loss is not null;

    public bool HasStep => _step is not null;

    public bool HasMetrics => _metrics is not null;

    /// <summary>The module's own loss as <see cref="Losses.Sum(JobSpec, Tensor, Batch)"/> has it: the weighted sum over the rows.</summary>
    /// <param name="outputs">What <see cref="ModuleRow.CallLabelled"/> has put out.</param>
    /// <param name="batch">Its rows.</param>
    /// <param name="isTrained">Whether backward follows.</param>
    /// <param name="step">The step, from 1; 0: none.</param>
    public Tensor LossSum(Tensor outputs, Batch batch, bool isTrained, long step)
    {
        if (batch.Rows.Count == 0 || batch.WeightSum == 0)
            return outputs.sum().mul(0); // no mean by weights is there
        var (labels, weights) = Shaped(batch.Labels, batch.Weights);
        var loss = Call(nameof(IModuleLoss.Loss), step, () => _loss!(_module, Outputs(outputs), Labels(outputs, labels), weights));
        return Sum(Checked(loss, nameof(IModuleLoss.Loss), labels, isTrained, step), weights, batch.WeightSum);
    }

    /// <summary>The same of the module's own training step.</summary>
    public Tensor StepSum(Batch batch, int epoch, long step)
    {
        var counts = batch.Rows.Count > 0 && batch.WeightSum > 0;
        var (labels, weights) = Shaped(batch.Labels, counts ? batch.Weights : null);
        var loss = Call(nameof(ITrainingStep.TrainingStep), step, () => _step!(_module, _row.InputsOf(_module, batch.Features), Labels(batch.Features, labels), weights, epoch + 1, step));
        var sum = Sum(Checked(loss, nameof(ITrainingStep.TrainingStep), labels, isTrained: true, step), weights, batch.WeightSum);
        return counts ? sum : sum.mul(0); // others may wait for this rank's part in batch normalisation
    }

    /// <summary>Adds the module's own metrics of some rows: for each its weighted sum, behind the last what the rows weigh.</summary>
    /// <exception cref="UserModuleException">They have other names, another shape, or are not finite.</exception>
    public void AddMetrics(IReadOnlyList<string> names, Tensor outputs, Tensor labels, Tensor? rowWeights, Span<double> sums)
    {
        if (labels.numel() == 0)
            return;
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var (shapedLabels, weights) = Shaped(labels, rowWeights);
        var weight = weights.to(ScalarType.Float64).sum().ToDouble();
        if (weight == 0)
            return;
        var values = Metrics(outputs.detach(), shapedLabels, weights);
        if (values.Count != names.Count || !names.All(values.ContainsKey))
            throw new UserModuleException($"Module \"{_name}\" returned the metrics {ModuleMetrics.Quoted(values.Keys)}, expected {ModuleMetrics.Quoted(names)}, as before the training: the same names in each call.");
        for (var i = 0; i < names.Count; i++)
        {
            var sum = Sum(values[names[i]].to(ScalarType.Float64), weights.to(ScalarType.Float64), weight).ToDouble();
            if (!double.IsFinite(sum))
                throw new UserModuleException($"Metric \"{names[i]}\" of module \"{_name}\" is {sum} on some rows of a batch, expected finite numbers. Have it leave out what it is not defined for, with a metric of 0.");
            sums[i] += sum;
        }

        sums[names.Count] += weight;
    }

    /// <summary>The module's own metrics of some rows.</summary>
    public IReadOnlyDictionary<string, Tensor> Metrics(Tensor outputs, Tensor labels, Tensor weights)
    {
        var values = Call(nameof(IModuleMetrics.Metrics), 0, () => _metrics!(_module, Outputs(outputs), Labels(outputs, labels), weights));
        ModuleMetrics.Check(_name, values, labels);
        return values!;
    }

    /// <summary>Labels and weights in one shape: [rows] of classes, [rows, 1] of values, so that they fit the outputs.</summary>
    public static (Tensor Labels, Tensor Weights) Shaped(Tensor labels, Tensor? weights)
    {
        weights ??= ones(labels.shape[0], ScalarType.Float32, labels.device);
        return labels.dtype == ScalarType.Int64 ? (labels, weights) : (labels.unsqueeze(1), weights.unsqueeze(1));
    }

    /// <summary>The weighted sum of rows' numbers, or of their mean.</summary>
    public static Tensor Sum(Tensor rows, Tensor weights, double weightSum) =>
        rows.dim() == 0 ? rows.mul(weightSum) : rows.reshape(-1).mul(weights.reshape(-1)).sum();

    /// <summary>Whether numbers are of rows one by one, in the shape of labels or without their last dimension; or one number.</summary>
    public static bool IsOfRows(Tensor values, Tensor labels) =>
        values.dim() == 0 || (values.dim() <= 2 && values.shape[0] == labels.shape[0] && values.numel() == labels.shape[0]);

    private object Outputs(Tensor outputs) => _row.HasColumns ? _row.OutputsOf(_module, outputs) : outputs;

    // Of columns they are the last numbers of rows.
    private object Labels(Tensor rows, Tensor labels) => _row.HasColumns ? _row.LabelsOf(_module, rows) : labels;

    private static T Typed<T>(string name, Type contract)
        where T : Delegate =>
        typeof(ModuleContract).GetMethod(name, Hidden)!.MakeGenericMethod(contract.GetGenericArguments()).CreateDelegate<T>();

    private static Tensor LossOf<TOutputs, TLabels>(nn.Module module, object outputs, object labels, Tensor weights) =>
        ((IModuleLoss<TOutputs, TLabels>)module).Loss((TOutputs)outputs, (TLabels)labels, weights);

    private static Tensor StepOf<TInputs, TLabels>(nn.Module module, object inputs, object labels, Tensor weights, int epoch, long step) =>
        ((ITrainingStep<TInputs, TLabels>)module).TrainingStep(new TrainingBatch<TInputs, TLabels>((TInputs)inputs, (TLabels)labels, weights, epoch, step));

    private static IReadOnlyDictionary<string, Tensor> MetricsOf<TOutputs, TLabels>(nn.Module module, object outputs, object labels, Tensor weights) =>
        ((IModuleMetrics<TOutputs, TLabels>)module).Metrics((TOutputs)outputs, (TLabels)labels, weights);

    private Tensor Checked(Tensor? loss, string member, Tensor labels, bool isTrained, long step)
    {
        var expected = $"expected [{string.Join(", ", labels.shape)}], the loss of each row, or one number, their mean by weights, of Float32";
        if (loss is null)
            throw new UserModuleException($"Module \"{_name}\" returned null from its {member}, {expected}.", step);
        if (loss.dtype != ScalarType.Float32 || !IsOfRows(loss, labels))
            throw new UserModuleException($"Module \"{_name}\" returned [{string.Join(", ", loss.shape)}] of {loss.dtype} from its {member} for {labels.shape[0]} rows, {expected}.", step);
        if (isTrained && !loss.requires_grad)
            throw new UserModuleException($"Module \"{_name}\" returned a loss from its {member} that does not depend on its parameters, expected one made of its outputs by TorchSharp's operations, without detach, no_grad and numbers read out of tensors.", step);
        return loss;
    }

    private T Call<T>(string member, long step, Func<T> call)
    {
        try
        {
            return call();
        }
        catch (Exception e) when (UserModuleException.IsOfModule(e))
        {
            throw UserModuleException.Of(_module, member, e, step);
        }
    }
}
