using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;
using MLDistributed.Training.Data;
using MLDistributed.Training.Weights;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// An encoder of texts. What is frozen is no parameter: each rank has it from the seed and the job's weights. Of a linear layer
/// with an adapter that is the layer itself.
/// </summary>
internal sealed unsafe class TextSource : IModuleSource
{
    private readonly TextSpec _spec;
    private readonly ulong _seed;
    private readonly Lazy<IReadOnlyDictionary<string, float[]>> _frozen;

    /// <param name="spec">The sizes.</param>
    /// <param name="seed">Decides first parameters and dropout.</param>
    /// <param name="weightsPath">The job's starting weights; empty: none.</param>
    public TextSource(TextSpec spec, ulong seed, string weightsPath)
    {
        (_spec, _seed) = (spec, seed);
        Layout = LayoutOf(spec);
        _frozen = new(() => ReadFrozen(weightsPath));
    }

    public FlatLayout Layout { get; }

    // As read, and as tensors.
    public long FrozenBytes => 2 * sizeof(float) * TextTensors.Of(_spec).Where(t => TextTensors.IsFrozen(_spec, t.Name)).Sum(t => t.Length);

    /// <summary>The layout of what is trained.</summary>
    public static FlatLayout LayoutOf(TextSpec text)
    {
        var parameters = new List<FlatTensor>();
        foreach (var tensor in TextTensors.Of(text).Where(t => !TextTensors.IsFrozen(text, t.Name)))
            Add(tensor.Name, tensor.Shape);
        for (var layer = 0; layer < text.Layers; layer++)
            foreach (var target in text.Adapter?.Targets ?? [])
            {
                var (outputs, inputs) = TextTensors.SizeOf(text, target);
                Add(TextInitialization.Down(layer, target), [text.Adapter!.Rank, inputs]);
                Add(TextInitialization.Up(layer, target), [outputs, text.Adapter.Rank]);
            }

        return new FlatLayout(parameters, []);

        void Add(string name, long[] shape) => parameters.Add(new FlatTensor(name, shape, new FlatLayout(parameters, []).ParameterLength, Decays: shape.Length > 1));
    }

    public void Initialize(float* parameters)
    {
        foreach (var tensor in Layout.Parameters)
            TextInitialization.Fill(_spec, _seed, tensor.Name, tensor.Shape, new Span<float>(parameters + tensor.Start, checked((int)tensor.Length)));
    }

    public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, StatisticsJoin ranks, Action<long>? gradientsReady) =>
        new TextEncoder(_spec, Layout, _seed, parameters, gradients, _frozen.Value);

    public ModelProto WriteOnnx(JobSpec job, IReadOnlyDictionary<string, float[]> tensors)
    {
        var all = new Dictionary<string, float[]>(_frozen.Value, StringComparer.Ordinal);
        foreach (var (name, values) in tensors)
            all[name] = values;
        for (var layer = 0; layer < _spec.Layers; layer++)
            foreach (var target in _spec.Adapter?.Targets ?? [])
                all[TextInitialization.WeightOf(layer, target)] = Merged(all, layer, target);
        return OnnxTextWriter.Write(job, all);
    }

    // W + alpha / rank * B A
    private float[] Merged(Dictionary<string, float[]> tensors, int layer, string target)
    {
        var (down, up) = (tensors[TextInitialization.Down(layer, target)], tensors[TextInitialization.Up(layer, target)]);
        var (outputs, inputs) = TextTensors.SizeOf(_spec, target);
        var scale = (float)(_spec.Adapter!.Alpha / _spec.Adapter.Rank);
        float[] merged = [.. tensors[TextInitialization.WeightOf(layer, target)]];
        for (var o = 0; o < outputs; o++)
            for (var r = 0; r < _spec.Adapter.Rank; r++)
                Vectors.AddScaled(down.AsSpan(r * (int)inputs, (int)inputs), scale * up[(o * _spec.Adapter.Rank) + r], merged.AsSpan(o * (int)inputs, (int)inputs));
        return merged;
    }

    private Dictionary<string, float[]> ReadFrozen(string weightsPath)
    {
        var kind = (IPretrainedKind)new ModuleSpec { Text = _spec }.Kind!;
        using var file = weightsPath.Length == 0 ? null : PretrainedTensors.Open(weightsPath, kind);
        var frozen = new Dictionary<string, float[]>(StringComparer.Ordinal);
        foreach (var tensor in kind.Tensors.Where(t => TextTensors.IsFrozen(_spec, t.Name)))
        {
            var values = frozen[tensor.Name] = new float[tensor.Length];
            if (file?.Has(tensor.Name) == true)
                PretrainedTensors.Read(file, tensor.Name, values);
            else
                TextInitialization.Fill(_spec, _seed, tensor.Name, tensor.Shape, values);
        }

        return frozen;
    }
}
