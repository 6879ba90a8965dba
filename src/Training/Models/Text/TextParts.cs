using MLDistributed.Protocol;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace MLDistributed.Training.Models;

/// <summary>An encoder's tensors by what they do: views of the flat ones where they are trained.</summary>
internal sealed unsafe class TextParts : IDisposable
{
    private readonly Dictionary<string, Tensor> _tensors = new(StringComparer.Ordinal);
    private readonly List<Tensor> _kept = [];
    private readonly TextSpec _spec;

    public TextParts(TextSpec spec, FlatLayout layout, Tensor parameters, Tensor gradients, IReadOnlyDictionary<string, float[]> frozen)
    {
        _spec = spec;
        using var scope = NewDisposeScope();
        using var plain = no_grad();
        foreach (var part in layout.Parameters)
        {
            var value = Keep(parameters.narrow(0, part.Start, part.Length).view(part.Shape)).requires_grad_();
            value.grad = Keep(gradients.narrow(0, part.Start, part.Length).view(part.Shape));
            _tensors[part.Name] = value;
        }

        var shapes = TextTensors.Of(spec).ToDictionary(t => t.Name, t => t.Shape, StringComparer.Ordinal);
        foreach (var (name, values) in frozen)
            _tensors[name] = Keep(tensor(values, shapes[name]).to(parameters.device));
        (Words, Positions, Segments) = (_tensors[TextTensors.Words], _tensors[TextTensors.Positions], _tensors[TextTensors.Segments]);
        EmbeddingNorm = Norm(TextTensors.EmbeddingNorm);
        Layers = [.. Enumerable.Range(0, spec.Layers).Select(i => new TextLayer(
            Target(i, "query"), Target(i, "key"), Target(i, "value"), Target(i, "output"), Norm(TextTensors.InLayer(i, "attention.output.LayerNorm")),
            Target(i, "up"), Target(i, "down"), Norm(TextTensors.InLayer(i, "output.LayerNorm"))))];
        LastNorm = spec.NormFirst ? Norm(TextTensors.LastNorm) : null;
        Pooler = spec.Pooling == TextPooling.First ? Linear(TextTensors.Pooler) : null;
        Classifier = Linear(TextTensors.Classifier);
    }

    public Tensor Words { get; }

    public Tensor Positions { get; }

    public Tensor Segments { get; }

    public TextNorm EmbeddingNorm { get; }

    public IReadOnlyList<TextLayer> Layers { get; }

    public TextNorm? LastNorm { get; }

    public TextLinear? Pooler { get; }

    public TextLinear Classifier { get; }

    public void Dispose() => _kept.ForEach(t => t.Dispose());

    private Tensor Keep(Tensor tensor)
    {
        _kept.Add(tensor.DetachFromDisposeScope());
        return tensor;
    }

    private TextLinear Target(int layer, string target) => Linear(
        TextTensors.InLayer(layer, TextTensors.Targets[target]),
        _tensors.GetValueOrDefault(TextInitialization.Down(layer, target)), _tensors.GetValueOrDefault(TextInitialization.Up(layer, target)));

    private TextLinear Linear(string name, Tensor? down = null, Tensor? up = null) =>
        new(_tensors[$"{name}.weight"], _tensors[$"{name}.bias"], down, up, down is null ? 1 : _spec.Adapter.Alpha / _spec.Adapter.Rank);

    private TextNorm Norm(string name) => new(_tensors[$"{name}.weight"], _tensors[$"{name}.bias"], [_spec.Width], _spec.NormEpsilon);
}

/// <summary>A layer of an encoder.</summary>
internal sealed record TextLayer(TextLinear Query, TextLinear Key, TextLinear Value, TextLinear Output, TextNorm FirstNorm, TextLinear Up, TextLinear Down, TextNorm SecondNorm);

/// <summary>A linear layer, with its adapter where it has one.</summary>
internal sealed class TextLinear(Tensor weight, Tensor bias, Tensor? down, Tensor? up, Scalar scale)
{
    /// <summary>Of the last dimension.</summary>
    public Tensor Apply(Tensor x)
    {
        var y = functional.linear(x, weight, bias);
        return down is null ? y : y.add(functional.linear(functional.linear(x, down), up!).mul(scale));
    }
}

/// <summary>A layer normalisation.</summary>
internal sealed class TextNorm(Tensor weight, Tensor bias, long[] shape, double epsilon)
{
    /// <summary>Of the last dimension.</summary>
    public Tensor Apply(Tensor x) => functional.layer_norm(x, shape, weight, bias, epsilon);
}
