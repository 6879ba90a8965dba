using TorchSharp;

namespace MLDistributed.Training.Models;

/// <summary>One thing that a module was seen to do: values by their numbers, of which 0 is the module's input.</summary>
/// <param name="Inputs">What it reads.</param>
/// <param name="Output">What it makes.</param>
/// <param name="Write">Adds it to a graph.</param>
internal sealed record TraceStep(int[] Inputs, int Output, Func<TraceWriter, string[], string> Write);

/// <summary>A layer whose operator is being written.</summary>
/// <param name="Writer">The graph, and the module's tensors.</param>
/// <param name="Input">The name of its input.</param>
/// <param name="InputShape">As it was seen, rows first.</param>
/// <param name="OutputShape">As it was seen, rows first.</param>
internal readonly record struct LayerCall(TraceWriter Writer, string Input, long[] InputShape, long[] OutputShape);

/// <summary>A module's graph while it is written.</summary>
internal sealed class TraceWriter(Protocol.Onnx.OnnxGraph graph, torch.nn.Module module, ModuleTensors tensors, IReadOnlyDictionary<string, float[]> values)
{
    private const string Prefix = Protocol.Onnx.OnnxModuleReader.Prefix;
    private readonly Dictionary<torch.Tensor, string> _own = new(ReferenceEqualityComparer.Instance);

    public Protocol.Onnx.OnnxGraph Graph => graph;

    public torch.nn.Module Module => module;

    /// <summary>A layer of the module, by its path.</summary>
    public torch.nn.Module Layer(string path) =>
        path.Length == 0 ? module : path.Split('.').Aggregate(module, (within, part) => within.named_children().First(c => c.name == part).module);

    public string Node(string op, string[] inputs, params IEnumerable<Protocol.Onnx.AttributeProto> attributes) => graph.Node(op, inputs, null, attributes);

    /// <summary>A parameter or buffer: the job's values where it trains it, else the module's own.</summary>
    public string Tensor(torch.Tensor tensor)
    {
        if (tensors.NameOf(tensor) is { } name)
            return graph.Parameter(Prefix + name, tensor.shape);
        if (!_own.TryGetValue(tensor, out var known))
            _own[tensor] = known = graph.Constant(FrozenName(tensor) ?? graph.NewName("frozen"), tensor.shape, Values(tensor));
        return known;
    }

    /// <summary>A matrix with rows and columns exchanged.</summary>
    public string Transposed(torch.Tensor matrix)
    {
        var (rows, columns, from) = ((int)matrix.shape[0], (int)matrix.shape[1], Values(matrix));
        var to = new float[from.Length];
        for (var r = 0; r < rows; r++)
            for (var c = 0; c < columns; c++)
                to[(c * rows) + r] = from[(r * columns) + c];
        return graph.Constant(graph.NewName("transposed"), [columns, rows], to);
    }

    public string Constant(float value, params long[] shape)
    {
        var numbers = new float[shape.Aggregate(1L, (a, b) => a * b)];
        numbers.AsSpan().Fill(value);
        return graph.Constant(graph.NewName("constant"), shape, numbers);
    }

    public string Reshape(string input, IEnumerable<long> rowShape) => Node("Reshape", [input, graph.Integers(graph.NewName("shape"), [0, .. rowShape])]);

    /// <summary>The names of values as the graph has them.</summary>
    public static Dictionary<string, float[]> Named(IReadOnlyDictionary<string, float[]> values) => values.ToDictionary(v => Prefix + v.Key, v => v.Value, StringComparer.Ordinal);

    // By its own name, so that another training can start from it.
    private string? FrozenName(torch.Tensor tensor) =>
        module.named_parameters().FirstOrDefault(p => ReferenceEquals(p.parameter, tensor)).name is { } name ? Prefix + name : null;

    private float[] Values(torch.Tensor tensor)
    {
        if (tensors.NameOf(tensor) is { } name && values.TryGetValue(Prefix + name, out var trained))
            return trained;
        using var local = tensor.detach().to(torch.ScalarType.Float32).cpu().contiguous();
        return local.data<float>().ToArray();
    }
}
