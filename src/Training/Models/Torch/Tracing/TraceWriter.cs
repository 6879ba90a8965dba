using System.IO.Hashing;
using System.Runtime.InteropServices;
using MLDistributed.Protocol.Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A module's graph while it is written.</summary>
/// <param name="graph">The graph.</param>
/// <param name="module">The module: of the one that was traced, or another instance.</param>
/// <param name="tensors">Its tensors.</param>
/// <param name="values">The job's, by their names in the graph.</param>
internal sealed class TraceWriter(OnnxGraph graph, nn.Module module, ModuleTensors tensors, IReadOnlyDictionary<string, float[]> values)
{
    private const string Prefix = OnnxModuleReader.Prefix;
    private readonly Dictionary<Tensor, string> _own = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<string, Tensor> _named = NamedTensors(module);
    private readonly Dictionary<(string Shape, UInt128 Hash), string> _constants = [];

    public OnnxGraph Graph => graph;

    public nn.Module Module => module;

    /// <summary>The name of the module's input.</summary>
    public string Input { get; init; } = "";

    /// <summary>What modules have written themselves.</summary>
    public OwnGraphs Own { get; init; } = new();

    /// <summary>A layer of the module, by its path.</summary>
    public nn.Module Layer(string path) =>
        path.Length == 0 ? module : path.Split('.').Aggregate(module, (within, part) => within.named_children().First(c => c.name == part).module);

    public string Node(string op, string[] inputs, params IEnumerable<AttributeProto> attributes) => graph.Node(op, inputs, null, attributes);

    /// <summary>A parameter or buffer: the job's values where it trains it, else the module's own.</summary>
    public string Tensor(Tensor tensor)
    {
        if (tensor is not TorchSharp.Modules.Parameter && tensor.isinf().any().ToBoolean())
            return Constant(tensor);
        if (tensors.NameOf(tensor) is { } name)
            return graph.Parameter(Prefix + name, tensor.shape);
        if (!_own.TryGetValue(tensor, out var known))
            _own[tensor] = known = graph.Constant(FrozenName(tensor) ?? graph.NewName("frozen"), tensor.shape, Values(tensor));
        return known;
    }

    /// <summary>The same, by its name in the module.</summary>
    public string Tensor(string name) => Tensor(_named[name]);

    /// <summary>A parameter or buffer with the job's values, to compute with.</summary>
    public Tensor Current(string name) => Current(_named[name]);

    /// <summary>A parameter or buffer with the job's values, to compute with.</summary>
    public Tensor Current(Tensor parameter) => parameter.dtype == ScalarType.Float32 ? tensor(Values(parameter)).view(parameter.shape) : parameter;

    /// <summary>One number; an infinite one as the largest that there is.</summary>
    public string Constant(float value, params long[] shape)
    {
        var numbers = new float[RowLayout.Product(shape)];
        numbers.AsSpan().Fill(Math.Clamp(value, float.MinValue, float.MaxValue));
        return Constant("constant", shape, numbers);
    }

    /// <summary>Numbers that were computed; infinite ones as the largest that there are.</summary>
    public string Constant(Tensor numbers, string word = "constant")
    {
        using var local = numbers.detach().to(ScalarType.Float32).cpu().contiguous();
        var data = local.data<float>().ToArray();
        for (var i = 0; i < data.Length; i++)
            data[i] = float.IsInfinity(data[i]) ? MathF.CopySign(float.MaxValue, data[i]) : data[i];
        return Constant(word, local.shape, data);
    }

    // Once, however often it is computed with: as weights at each step of a cell.
    private string Constant(string word, long[] shape, float[] numbers)
    {
        var key = (string.Join(',', shape), XxHash128.HashToUInt128(MemoryMarshal.AsBytes(numbers.AsSpan())));
        if (!_constants.TryGetValue(key, out var name))
            _constants[key] = name = graph.Constant(graph.NewName(word), shape, numbers);
        return name;
    }

    public string Cast(string input, ScalarType type) => Node("Cast", [input], OnnxGraph.Integer("to", TracedFunctions.TypeOf(type)));

    public string Reshape(string input, IEnumerable<long> rowShape) => Node("Reshape", [input, Reshaped(rowShape)]);

    /// <summary>The shape of rows of other shapes.</summary>
    public string Reshaped(IEnumerable<long> rowShape) => Integers("shape", [0, .. rowShape]);

    public string Transpose(string input, IEnumerable<long> order) => Node("Transpose", [input], OnnxGraph.List("perm", order));

    public string Expand(string input, IEnumerable<long> rowShape) => Node("Expand", [input, Integers("shape", [1, .. rowShape])]);

    public string Slice(string input, long[] axes, long[] starts, long[] ends, long[] steps) =>
        Node("Slice", [input, Integers("starts", starts), Integers("ends", ends), Integers("axes", axes), Integers("steps", steps)]);

    /// <summary>A sum, mean or extreme over dimensions of the graph, one by one, as those may lie apart.</summary>
    public string Reduce(string op, string input, IEnumerable<int> axes, bool keeps) =>
        axes.OrderDescending().Aggregate(input, (name, axis) => Node(op, [name, Integers("axes", [axis])], OnnxGraph.Integer("keepdims", keeps ? 1 : 0)));

    /// <summary>The last dimension times a matrix, plus a bias.</summary>
    public string Project(string input, Tensor weight, Tensor? bias)
    {
        var product = Node("MatMul", [input, Constant(weight.t(), "weights")]);
        return bias is null ? product : Node("Add", [product, Constant(bias, "bias")]);
    }

    /// <summary>What depends on no row, as an operand beside values of rows of a layout: aligned with their last dimensions.</summary>
    /// <exception cref="NotTracedException">It is another for each row.</exception>
    public string Beside(OutsideValue value, RowLayout layout)
    {
        var numbers = value.Compute(Current);
        if (value is ParameterValue { Name: var name } && numbers.dim() < layout.FromRight)
            return Tensor(name);
        return Constant(Aligned(numbers, layout));
    }

    /// <summary>The same as a value of each row.</summary>
    public string ForEachRow(OutsideValue value, RowLayout layout)
    {
        var numbers = Aligned(value.Compute(Current), layout).broadcast_to([1, .. layout.RowShape]);
        var constant = Constant(numbers);
        // Any value of a row says how many rows there are.
        var one = Reshape(Slice(Input, [1], [0], [1], [1]), layout.RowShape.Select(_ => 1L));
        return Node("Where", [Node("IsNaN", [one]), constant, constant]);
    }

    public string Integers(string word, ReadOnlySpan<long> numbers) => graph.Integers(graph.NewName(word), numbers);

    /// <summary>The names of values as the graph has them.</summary>
    public static Dictionary<string, float[]> Named(IReadOnlyDictionary<string, float[]> values) => values.ToDictionary(v => Prefix + v.Key, v => v.Value, StringComparer.Ordinal);

    /// <summary>All tensors of a module by their names.</summary>
    public static Dictionary<string, Tensor> NamedTensors(nn.Module module)
    {
        var named = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (name, parameter) in module.named_parameters())
            named.TryAdd(name, parameter);
        foreach (var (name, buffer) in module.named_buffers())
            named.TryAdd(name, buffer);
        return named;
    }

    // By its own name, so that another training can start from it.
    private string? FrozenName(Tensor tensor) => module.named_parameters().FirstOrDefault(p => ReferenceEquals(p.parameter, tensor)).name is { } name ? Prefix + name : null;

    // [1, ...]: in the order of the graph, whose first dimension counts rows.
    private static Tensor Aligned(Tensor numbers, RowLayout layout)
    {
        if (numbers.dim() > layout.Rank)
            throw new NotTracedException("is a constant of more dimensions than the value beside it");
        numbers = numbers.contiguous().view([.. Enumerable.Repeat(1L, layout.Rank - (int)numbers.dim()), .. numbers.shape]);
        var axis = layout.RowAxis;
        var size = numbers.shape[axis];
        if (size != 1)
        {
            // It was made for as many rows as there are: the same for each, or there is no graph of it.
            var folded = numbers.transpose(0, axis).contiguous();
            var parts = folded.view([RowLayout.Rows, layout.Fold, .. folded.shape[1..]]);
            if (!parts.equal(parts.narrow(0, 0, 1)).all().ToBoolean())
                throw new NotTracedException("is another constant for each row");
            numbers = parts.select(0, 0).view([layout.Fold, .. folded.shape[1..]]).transpose(0, axis);
        }

        // Rows first: a dimension of 1, the fold, then the others.
        long[] order = [axis, .. Enumerable.Range(0, layout.Rank).Where(d => d != axis).Select(d => (long)d)];
        var ordered = numbers.permute(order).contiguous();
        return ordered.view(layout.Fold > 1 ? [1, .. ordered.shape] : ordered.shape);
    }

    private float[] Values(Tensor tensor)
    {
        if (tensors.NameOf(tensor) is { } name && values.TryGetValue(Prefix + name, out var trained))
            return trained;
        using var local = tensor.detach().to(ScalarType.Float32).cpu().contiguous();
        return local.data<float>().ToArray();
    }
}
