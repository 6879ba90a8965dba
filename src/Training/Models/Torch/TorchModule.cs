using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Metrics;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A TorchSharp module over the job's memory.</summary>
internal sealed unsafe class TorchModule : ITrainedModule
{
    private readonly nn.Module _module;
    private readonly ModuleRow _row;
    private readonly ModuleTensors _tensors;
    private readonly FlatLayout _layout;
    private readonly ForwardPass _pass;
    private readonly List<Tensor> _kept;
    private readonly List<LayerStatistics> _statistics = [];
    private readonly float[] _buffers;
    private bool _hasBuffers;
    private readonly ModuleContract _contract;
    private Tensor? _stepOutputs;

    public TorchModule(nn.Module module, ModuleRow row, ModuleTensors tensors, FlatLayout layout, float[] buffers, ForwardPass pass, StatisticsJoin ranks, List<Tensor> kept)
    {
        (_module, _row, _tensors, _layout, _buffers, _pass, _kept) = (module, row, tensors, layout, buffers, pass, kept);
        foreach (var norm in tensors.BatchNorms)
        {
            if (norm.running_mean is null || norm.running_var is null)
                throw new UserModuleException($"Layer \"{ModuleTensors.NameOf(module, norm)}\" ({norm.GetType().Name}) keeps no running statistics, expected them: without, a row's output depends on the rows beside it. Leave track_running_stats at true.");
            var statistics = ranks.Of(Memory(norm.running_mean), Memory(norm.running_var), norm.running_mean.device);
            _statistics.Add(statistics);
            var joined = new JoinedBatchNorm(norm, pass, statistics);
            if (module is ImageModule images)
                images.Join(norm, joined.Forward);
            else
                norm.register_forward_hook((_, input, output) => joined.Forward(input) ?? output);
        }

        foreach (var dropout in tensors.Dropouts)
            RowDropout.Attach(dropout, pass);
        _contract = new ModuleContract(module, row);
        if (_contract.HasStep)
            row.Hear(module, NoteOutputs);
    }

    public float[] Buffers
    {
        get
        {
            _statistics.ForEach(s => s.ToHost());
            return _buffers;
        }
    }

    /// <summary>Numbers that it must put out for a row; null: any.</summary>
    public int? OutputSize { get; init; }

    /// <summary>What its own metrics are called.</summary>
    public IReadOnlyList<string> OwnMetrics { get; init; } = [];

    public MetricSums Metrics(JobSpec spec) => OwnMetrics.Count == 0 ? MetricSums.Of(spec) : new ModuleMetrics(MetricSums.Of(spec), _contract, OwnMetrics);

    public Tensor Forward(Batch batch, long step)
    {
        Begin(batch, step);
        // Not all modules can do with no rows, and the others wait for this rank's part of their statistics.
        var isEmpty = batch.Rows.Count == 0;
        var outputs = Call(isEmpty ? StandIn(batch).Features : batch.Features, step + 1);
        return isEmpty ? outputs.narrow(0, 0, 0) : outputs;
    }

    public (Tensor LossSum, Tensor? Outputs) Train(JobSpec spec, Batch batch, int epoch, long step)
    {
        if (!_contract.HasStep)
        {
            var outputs = Forward(batch, step);
            return (LossSum(spec, outputs, batch, isTrained: true, step + 1), outputs);
        }

        Begin(batch, step);
        ForgetOutputs();
        var sum = _contract.StepSum(batch.Rows.Count == 0 ? StandIn(batch) : batch, epoch, step + 1);
        return (sum, _stepOutputs is null ? null : _row.WithLabels(_stepOutputs, batch.Features));
    }

    public Tensor Loss(JobSpec spec, Tensor outputs, Batch batch) => LossSum(spec, outputs, batch, isTrained: false, step: 0);

    private Tensor LossSum(JobSpec spec, Tensor outputs, Batch batch, bool isTrained, long step) =>
        !_contract.HasLoss ? Losses.Sum(spec, outputs, batch) : _contract.LossSum(outputs, batch, isTrained, step);

    private void Begin(Batch batch, long step)
    {
        _pass.Begin(step, batch.Rows);
        _module.train();
        // What we compute in their place is told by the step, not by them.
        foreach (var layer in _tensors.BatchNorms.Concat(_tensors.FrozenNorms))
            layer.eval();
        if (_tensors.FrozenNorms.Count > 0 && !_hasBuffers)
            LoadBuffers();
        foreach (var layer in _tensors.Dropouts)
            layer.eval();
        random.manual_seed((long)CounterRandom.Hash(CounterRandom.Hash(_pass.Seed, (ulong)step), (ulong)batch.Rows.Start));
    }

    public void Backward(Tensor loss, int globalRows)
    {
        try
        {
            loss.backward();
        }
        finally
        {
            _pass.End();
        }

        if (_pass.Failure is { } failure)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
    }

    public Tensor Predict(Tensor features)
    {
        _pass.End();
        _module.eval();
        LoadBuffers();
        if (features.shape[0] == 0)
            return Call(_row.StandIn(features), 0).narrow(0, 0, 0);
        return Call(features, 0);
    }

    private void LoadBuffers()
    {
        // Frozen ones are large, and there once.
        using var frozen = no_grad();
        var values = Buffers;
        foreach (var ((_, buffer), place) in _tensors.Buffers.Zip(_layout.Buffers))
            if (!_hasBuffers || !ModuleTensors.IsFrozen(buffer))
                fixed (float* from = &values[place.Start])
                    buffer.copy_(TorchMemory.Wrap(from, place.Length).view(place.Shape));
        _hasBuffers = true;
    }

    public void Dispose()
    {
        ForgetOutputs();
        _kept.ForEach(t => t.Dispose());
        _statistics.ForEach(s => s.Dispose());
        _module.Dispose();
    }

    // A row that counts nowhere.
    private Batch StandIn(Batch batch) => batch with
    {
        Features = _row.StandIn(batch.Features),
        Labels = zeros([1], batch.Labels.dtype, batch.Labels.device),
        Weights = null,
    };

    // The first of a step: for the metrics, which outlive the module's own dispose scopes.
    private void NoteOutputs(Tensor? output)
    {
        if (_pass.IsTraining && _stepOutputs is null && output is { dtype: ScalarType.Float32, shape: [var rows, var size] } && rows == _pass.Rows.Count && (size == OutputSize || _row.HasColumns))
            _stepOutputs = output.detach().DetachFromDisposeScope();
    }

    private void ForgetOutputs()
    {
        _stepOutputs?.Dispose();
        _stepOutputs = null;
    }

    private Tensor Call(Tensor features, long step)
    {
        Tensor outputs;
        try
        {
            outputs = _row.CallLabelled(_module, features);
        }
        catch (Exception e) when (UserModuleException.IsOfModule(e))
        {
            throw UserModuleException.Of(_module, "forward", e, step);
        }

        if (OutputSize is { } size && Refusal(_module, outputs, features.shape[0], size) is { } refusal)
            throw new UserModuleException(refusal, step);
        return outputs;
    }

    /// <summary>What is wrong with outputs; null: nothing.</summary>
    public static string? Refusal(nn.Module module, Tensor? outputs, long rows, int size) =>
        outputs is null ? $"Module \"{ModuleTensors.NameOf(module)}\" put out null, expected [{rows}, {size}] of Float32."
        : outputs.shape.AsSpan().SequenceEqual([rows, size]) && outputs.dtype == ScalarType.Float32 ? null
        : $"Module \"{ModuleTensors.NameOf(module)}\" put out [{string.Join(", ", outputs.shape)}] of {outputs.dtype} for {rows} rows, expected [{rows}, {size}] of Float32: {(size == 1 ? "one number" : "a number for each class")} a row, without sigmoid or softmax, which the loss has.";

    private Memory<float> Memory(Tensor buffer)
    {
        var place = _layout.Buffers.First(b => b.Name == _tensors.NameOf(buffer));
        return _buffers.AsMemory((int)place.Start, (int)place.Length);
    }
}
