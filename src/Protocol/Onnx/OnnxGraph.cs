using System.Globalization;
using System.Runtime.InteropServices;
using Google.Protobuf;

namespace MLDistributed.Protocol.Onnx;

/// <summary>A graph that is being written, node by node.</summary>
/// <param name="tensors">The module's tensors by their names; null: the graph alone is wanted, without numbers.</param>
public sealed class OnnxGraph(IReadOnlyDictionary<string, float[]>? tensors)
{
    private readonly GraphProto _graph = new();
    private readonly HashSet<string> _parameters = new(StringComparer.Ordinal);

    /// <summary>Nodes so far.</summary>
    public int NodeCount => _graph.Node.Count;

    /// <summary>Adds a node.</summary>
    /// <param name="op">The operator.</param>
    /// <param name="inputs">Names of values.</param>
    /// <param name="output">The name of its output; null: a new one.</param>
    /// <param name="attributes">The operator's.</param>
    /// <returns>The name of its output.</returns>
    public string Node(string op, IEnumerable<string> inputs, string? output = null, params IEnumerable<AttributeProto> attributes)
    {
        ArgumentNullException.ThrowIfNull(op);
        var index = _graph.Node.Count;
        output ??= $"{op.ToLowerInvariant()}.{index}";
        _graph.Node.Add(new NodeProto { OpType = op, Name = $"node.{index}", Input = { inputs }, Output = { output }, Attribute = { attributes } });
        return output;
    }

    /// <summary>A tensor of the module; the same again is there once.</summary>
    /// <exception cref="ArgumentException">There is none of that name, or it has another size.</exception>
    public string Parameter(string name, params ReadOnlySpan<long> shape)
    {
        if (!_parameters.Add(name))
            return name;
        if (tensors is null)
            return Constant(name, shape, []);
        var size = 1L;
        foreach (var dimension in shape)
            size *= dimension;
        if (!tensors.TryGetValue(name, out var values) || values.Length != size)
            throw new ArgumentException($"Tensor \"{name}\" has {values?.Length.ToString(CultureInfo.InvariantCulture) ?? "no"} values, expected {size} ({string.Join(" x ", shape.ToArray())}).", nameof(name));
        return Constant(name, shape, values);
    }

    /// <summary>Numbers of the graph's own.</summary>
    public string Constant(string name, ReadOnlySpan<long> shape, ReadOnlySpan<float> values)
    {
        // ONNX stores raw data little-endian; so do all machines that .NET runs on, but for s390x.
        var bytes = MemoryMarshal.AsBytes(values).ToArray();
        if (!BitConverter.IsLittleEndian)
            for (var i = 0; i < bytes.Length; i += sizeof(float))
                bytes.AsSpan(i, sizeof(float)).Reverse();
        _graph.Initializer.Add(new TensorProto
        {
            Name = name,
            DataType = (int)TensorProto.Types.DataType.Float,
            Dims = { shape.ToArray() },
            RawData = UnsafeByteOperations.UnsafeWrap(bytes),
        });
        return name;
    }

    /// <summary>Whole numbers, as those of a shape.</summary>
    public string Integers(string name, ReadOnlySpan<long> values)
    {
        _graph.Initializer.Add(new TensorProto { Name = name, DataType = (int)TensorProto.Types.DataType.Int64, Dims = { values.Length }, Int64Data = { values.ToArray() } });
        return name;
    }

    /// <summary>Whole numbers; the same name again is there once.</summary>
    internal string IntegersOnce(string name, ReadOnlySpan<long> values) => _parameters.Add(name) ? Integers(name, values) : name;

    /// <summary>A number; the same name again is there once.</summary>
    internal string ConstantOnce(string name, float value) => _parameters.Add(name) ? Constant(name, [], [value]) : name;

    /// <summary>A name that no tensor has yet.</summary>
    public string NewName(string word) => string.Create(CultureInfo.InvariantCulture, $"{word}.{_graph.Node.Count}.{_graph.Initializer.Count}");

    /// <summary>An attribute.</summary>
    public static AttributeProto Integer(string name, long value) => new() { Name = name, I = value, Type = AttributeProto.Types.AttributeType.Int };

    /// <summary>An attribute.</summary>
    public static AttributeProto Number(string name, double value) => new() { Name = name, F = (float)value, Type = AttributeProto.Types.AttributeType.Float };

    /// <summary>An attribute.</summary>
    public static AttributeProto Text(string name, string value) => new() { Name = name, S = ByteString.CopyFromUtf8(value), Type = AttributeProto.Types.AttributeType.String };

    /// <summary>An attribute.</summary>
    public static AttributeProto Texts(string name, IEnumerable<string> values) => new() { Name = name, Strings = { values.Select(ByteString.CopyFromUtf8) }, Type = AttributeProto.Types.AttributeType.Strings };

    /// <summary>An attribute.</summary>
    public static AttributeProto List(string name, IEnumerable<long> values) => new() { Name = name, Ints = { values }, Type = AttributeProto.Types.AttributeType.Ints };

    internal GraphProto Build(string name, ValueInfoProto input, IEnumerable<ValueInfoProto> outputs)
    {
        _graph.Name = name;
        _graph.Input.Add(input);
        _graph.Output.AddRange(outputs);
        return _graph;
    }
}
