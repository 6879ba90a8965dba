using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace MLDistributed.Training.Models;

/// <summary>The multi-layer perceptron.</summary>
internal sealed unsafe class Mlp : ITrainedModule
{
    // A mebibyte. What smaller gradients take is not worth the cut.
    private const long LargeWeight = 1 << 18;

    private readonly MlpSpec _spec;
    private readonly ulong _seed;
    private readonly Tensor[] _weights;
    private readonly Tensor[] _biases;
    private readonly LargeLinear?[] _large;
    private readonly bool _isNarrow;
    private readonly SparseLinear? _sparse;
    private readonly CategoryTables? _categories;
    private readonly Tensor[] _normWeights;
    private readonly Tensor[] _normBiases;
    private readonly LayerStatistics[] _statistics;
    private readonly SyncBatchNorm[] _batchNorms;
    private readonly float[] _buffers;
    private readonly Tensor[] _masks;
    private readonly Action[] _signals;
    private readonly FlatLayout _layout;
    private readonly List<Tensor> _kept = [];

    /// <param name="spec">The sizes.</param>
    /// <param name="layout">Where the parameters lie in the flat tensors.</param>
    /// <param name="seed">Decides dropout.</param>
    /// <param name="maxRows">The most rows of a training batch on this rank.</param>
    /// <param name="parameters">Flat, on the device to compute on.</param>
    /// <param name="gradients">Flat, as long, on that device; zero before each step.</param>
    /// <param name="ranks">Joins the batch statistics.</param>
    /// <param name="gradientsReady">Called in backward: the flat gradients from here to the end are final.</param>
    /// <param name="precision">What its linear layers compute in while training.</param>
    public Mlp(MlpSpec spec, FlatLayout layout, ulong seed, long maxRows, Tensor parameters, Tensor gradients, StatisticsJoin ranks, Action<long>? gradientsReady = null, Precision precision = Precision.Float32)
    {
        (_spec, _layout, _seed, _isNarrow) = (spec, layout, seed, precision == Precision.BFloat16);
        _buffers = new float[layout.BufferLength];
        Initialization.FillBuffers(layout, _buffers);
        using var scope = NewDisposeScope();
        using (no_grad())
        {
            var views = layout.Parameters.ToDictionary(p => p.Name, p => (Value: Keep(View(parameters, p)).requires_grad_(), Gradient: Keep(View(gradients, p))));
            foreach (var (value, gradient) in views.Values)
                value.grad = gradient;
            _weights = Values("layers", "weight");
            _biases = Values("layers", "bias");
            _large = [.. _weights.Zip(_biases, (weight, bias) => weight.numel() < LargeWeight ? null : new LargeLinear(weight, bias, _isNarrow))];
            if (spec.Sparse is not null)
            {
                var memory = ((SharedMemoryCollective)ranks.Ranks).Segment; // as ParallelStrategy has seen to
                (_large[0], _sparse) = (null, new SparseLinear(_weights[0], _biases[0], memory.Marks(memory.Rank)));
            }

            if (spec.Categories.Count > 0)
                _categories = new CategoryTables(spec, [.. spec.Categories.Select((_, i) => views[CategorySpec.TableName(i)].Value)]);
            _normWeights = Values("norms", "weight");
            _normBiases = Values("norms", "bias");
            _statistics = spec.Normalization != LayerNormalization.Batch ? [] : [.. spec.HiddenSizes.Select((_, i) =>
                ranks.Of(Buffer($"norms.{i}.running_mean"), Buffer($"norms.{i}.running_var"), parameters.device))];
            _batchNorms = [.. _statistics.Select((statistics, i) =>
                new SyncBatchNorm(statistics)
                {
                    Weight = views[$"norms.{i}.weight"].Gradient,
                    Bias = views[$"norms.{i}.bias"].Gradient,
                })];
            // With batch normalisation the graph is cut, and gradients of norms come after backward.
            _signals = gradientsReady is null || _batchNorms.Length > 0 ? [] : [.. Enumerable.Range(0, spec.HiddenSizes.Count + 1)
                .Select(i => layout.Parameters.First(p => p.Name == $"layers.{i}.weight").Start).Select(start => (Action)(() => gradientsReady(start)))];
            _masks = spec.Dropout == 0 || parameters.device_type != DeviceType.CPU ? [] : [.. spec.HiddenSizes.Select(size => Keep(empty([maxRows, size], ScalarType.Float32)))];

            Tensor[] Values(string kind, string name) => [.. Enumerable.Range(0, spec.HiddenSizes.Count + 1)
                .Where(i => views.ContainsKey($"{kind}.{i}.{name}")).Select(i => views[$"{kind}.{i}.{name}"].Value)];
        }

        static Tensor View(Tensor flat, FlatTensor part) => flat.narrow(0, part.Start, part.Length).view(part.Shape);
    }

    public float[] Buffers
    {
        get
        {
            foreach (var layer in _statistics)
                layer.ToHost();
            return _buffers;
        }
    }

    public Tensor Forward(Batch batch, long step)
    {
        var x = batch.Sparse is { } rows ? _sparse!.Forward(rows) : Linear(Inputs(batch.Features), 0);
        for (var i = 0; i < _spec.HiddenSizes.Count; i++)
        {
            if (_batchNorms.Length > 0)
                x = _batchNorms[i].Forward(Widen(x), _normWeights[i], _normBiases[i]);
            else if (_normWeights.Length > 0)
                x = functional.layer_norm(Widen(x), [_spec.HiddenSizes[i]], _normWeights[i], _normBiases[i], SyncBatchNorm.Epsilon);
            x = Activate(x);
            if (_spec.Dropout > 0)
                x = Drop(x, batch.Rows, step, i);
            x = Linear(_signals.Length > 0 ? GradientSignal.On(x, _signals[i + 1]) : x, i + 1);
        }

        return Widen(x);
    }

    public void Backward(Tensor loss, int globalRows)
    {
        loss.backward();
        for (var i = _large.Length - 1; i >= 0; i--)
        {
            if (i < _batchNorms.Length)
                _batchNorms[i].Backward(_normWeights[i]);
            _large[i]?.Backward();
        }

        _sparse?.Backward();
    }

    public Tensor Predict(Tensor features) => PredictFrom(_sparse is null ? functional.linear(Inputs(features), _weights[0], _biases[0]) : throw new NotSupportedException("Features are sparse, expected a batch of them."));

    public Tensor Predict(Batch batch) => batch.Sparse is { } rows ? PredictFrom(_sparse!.Predict(rows)) : Predict(batch.Features);

    // From the first layer's sums on. No dropout, running statistics, and float32, in which the model is scored.
    private Tensor PredictFrom(Tensor x)
    {
        var running = Buffers;
        for (var i = 0; i < _spec.HiddenSizes.Count; i++)
        {
            if (_batchNorms.Length > 0)
                x = functional.batch_norm(x, Running(i, "mean"), Running(i, "var"), _normWeights[i], _normBiases[i], training: false, eps: SyncBatchNorm.Epsilon);
            else if (_normWeights.Length > 0)
                x = functional.layer_norm(x, [_spec.HiddenSizes[i]], _normWeights[i], _normBiases[i], SyncBatchNorm.Epsilon);
            x = Activate(x);
            x = functional.linear(x, _weights[i + 1], _biases[i + 1]);
        }

        return x;

        Tensor Running(int layer, string name) => tensor(running.AsSpan(Place($"norms.{layer}.running_{name}")).ToArray(), device: x.device);
    }

    public void Dispose()
    {
        _kept.ForEach(t => t.Dispose());
        foreach (var layer in _statistics)
            layer.Dispose();
    }

    private Tensor Inputs(Tensor rows) => _categories?.Embed(rows) ?? rows;

    private Tensor Linear(Tensor x, int layer) => _large[layer]?.Forward(x) ?? functional.linear(Narrow(x), Narrow(_weights[layer]), Narrow(_biases[layer]));

    // Backward of a cast casts back: the gradients of weights are added up in float32.
    private Tensor Narrow(Tensor x) => _isNarrow ? x.to(ScalarType.BFloat16) : x;

    private Tensor Widen(Tensor x) => _isNarrow ? x.to(ScalarType.Float32) : x;

    private Tensor Keep(Tensor tensor)
    {
        _kept.Add(tensor.DetachFromDisposeScope());
        return tensor;
    }

    private Tensor Activate(Tensor x) => _spec.Activation == Activation.Gelu ? functional.gelu(x) : functional.relu(x);

    private Tensor Drop(Tensor x, Shard rows, long step, int layer)
    {
        if (x.device_type != DeviceType.CPU)
            return x.mul(DropoutMask.Of(x.device, _seed, step, layer, rows.Start, rows.Count, _spec.HiddenSizes[layer], _spec.Dropout));
        var mask = _masks[layer];
        DropoutMask.Fill((float*)TorchMemory.Data(mask), _seed, step, layer, rows.Start, rows.Count, _spec.HiddenSizes[layer], _spec.Dropout);
        return x.mul(mask.narrow(0, 0, rows.Count));
    }

    private Memory<float> Buffer(string name) => _buffers.AsMemory(Place(name));

    private Range Place(string name)
    {
        var part = _layout.Buffers.First(b => b.Name == name);
        return (int)part.Start..(int)(part.Start + part.Length);
    }
}
