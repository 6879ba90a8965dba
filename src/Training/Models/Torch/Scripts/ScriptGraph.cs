using System.Runtime.InteropServices;
using MLDistributed.Protocol.Onnx;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// The ONNX file beside a TorchScript module, as if it had been seen to do that: nothing of a script's calls can be heard. Numbers that have the
/// name of a tensor of the module are those of the job.
/// </summary>
internal sealed class ScriptGraph
{
    /// <summary>How such a file is made.</summary>
    public const string Remedy = "Write it of the same module in Python: torch.onnx.export(module.eval(), rows, \"module.onnx\", training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, opset_version=17).";

    private const int OldestOpset = 13;
    private const int AxesAreInputs = 18;

    // Attributes that our graphs do not have, whose default alone is known.
    private static readonly Dictionary<string, long> s_silent = new(StringComparer.Ordinal) { ["training_mode"] = 0, ["storage_order"] = 0, ["stash_type"] = 1, ["allowzero"] = 0 };

    private readonly Dictionary<string, int> _values = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Operand> _constants = new(StringComparer.Ordinal);
    private readonly HashSet<string> _named = new(StringComparer.Ordinal);
    private readonly List<TraceStep> _steps = [];
    private readonly ScriptNet _module;
    private readonly Dictionary<string, Tensor> _tensors;
    private readonly long _opset;

    private ScriptGraph(ScriptNet module, long opset) => (_module, _tensors, _opset) = (module, TraceWriter.NamedTensors(module), opset);

    /// <summary>An operand that depends on no row.</summary>
    /// <param name="Write">Adds it to a graph.</param>
    /// <param name="Numbers">Its numbers; null: whole ones, as of a shape.</param>
    private sealed record Operand(Func<TraceWriter, string> Write, Func<TraceWriter, Tensor>? Numbers)
    {
        /// <summary>Those whole ones.</summary>
        public long[] Integers { get; init; } = [];
    }

    /// <param name="module">The module.</param>
    /// <param name="onnx">The file's bytes, of which nothing is believed.</param>
    /// <param name="outputs">Numbers that the module puts out for a row.</param>
    /// <param name="rows">Rows that it takes.</param>
    /// <exception cref="UserModuleException">It is none, or not of that module; says why.</exception>
    public static ModuleTrace Read(ScriptNet module, byte[] onnx, int outputs, SampleRows rows)
    {
        try
        {
            var model = OnnxFile.Parse(onnx);
            var opset = model.OpsetImport.FirstOrDefault(o => o.Domain is "" or "ai.onnx")?.Version ?? 0;
            if (opset is < OldestOpset or > OnnxFrame.Opset)
                throw new FormatException($"has operators of version {opset}, expected {OldestOpset} to {OnnxFrame.Opset}");
            return new ScriptGraph(module, opset).Read(model.Graph, outputs, rows);
        }
        catch (Exception e) when (e is FormatException or ArgumentException)
        {
            throw new UserModuleException($"The ONNX file of TorchScript module \"{module.File}\" cannot be used: {e.Message.TrimEnd('.')}. {Remedy}", inner: e);
        }
    }

    private ModuleTrace Read(GraphProto graph, int outputs, SampleRows rows)
    {
        foreach (var tensor in graph.Initializer)
            _constants[tensor.Name] = Named(tensor.Name, tensor.Dims) ?? Constant(tensor);
        var inputs = graph.Input.Where(i => !_constants.ContainsKey(i.Name)).ToList();
        if (inputs.Count != 1 || graph.Output.Count != 1)
            throw new FormatException($"has {inputs.Count} inputs and {graph.Output.Count} outputs, expected one of each");
        _values[inputs[0].Name] = 0;
        foreach (var node in graph.Node)
            Add(node);
        if (!_values.TryGetValue(graph.Output[0].Name, out var output))
            throw new FormatException($"puts out \"{graph.Output[0].Name}\", which no node makes of the input");
        var missing = _module.named_parameters().Where(p => p.parameter.requires_grad && !_named.Contains(p.name)).Select(p => $"\"{p.name}\"").ToList();
        return new ModuleTrace(_steps, [(output, outputs)])
        {
            Rows = rows,
            Remedy = (missing.Count == 0 ? "" : $"It has no numbers by the name of {string.Join(", ", missing.Take(8))}{(missing.Count > 8 ? ", ..." : "")}, which are trained. ") + Remedy,
        };
    }

    private void Add(NodeProto node)
    {
        var place = $"node \"{node.Name}\" ({node.OpType})";
        if (node.Domain is not ("" or "ai.onnx") || node.Output.Count == 0)
            throw new FormatException($"has a {place} of the domain \"{node.Domain}\"; operators are those of ONNX");
        if (node.OpType == "Constant")
        {
            _constants[node.Output[0]] = Constant(node);
            return;
        }

        if (Computed(node) is { } computed)
        {
            _constants[node.Output[0]] = computed;
            return;
        }

        // Python writes one of nothing before some pools.
        var isSame = node.OpType == "Dropout" || (node.OpType == "Pad" && node.Input.Count > 1 && _constants.GetValueOrDefault(node.Input[1])?.Integers is { Length: > 0 } pads && Array.TrueForAll(pads, p => p == 0));
        var read = isSame ? node.Input.Take(1).ToArray() : [.. node.Input];
        foreach (var name in read)
            if (name.Length > 0 && !_values.ContainsKey(name) && !_constants.ContainsKey(name))
                throw new FormatException($"has a {place} that reads \"{name}\", which nothing before it makes");
        int[] given = [.. read.Where(_values.ContainsKey).Select(name => _values[name])];
        var output = _values[node.Output[0]] = _steps.Count + 1;
        _steps.Add(new TraceStep(given, output, $"its ONNX file's {place}", (writer, names) =>
        {
            var next = 0;
            string[] inputs = [.. read.Select((name, i) => name.Length == 0 ? "" : _values.ContainsKey(name) ? names[next++] : Written(node, i, _constants[name], writer))];
            return isSame ? writer.Node("Identity", inputs) : Write(node, writer, inputs);
        }));
    }

    // What depends on no row: other forms of numbers, and shapes as Python puts them together.
    private Operand? Computed(NodeProto node)
    {
        if (node.OpType == "Shape")
            return Whole([0]); // as many rows as there are; other sizes are constants in a file that is made for a number of rows
        var inputs = node.Input.Select(_constants.GetValueOrDefault).ToArray();
        return (node.OpType, inputs) switch
        {
            // Tensors that had the same numbers are there once, and others by their names are said to be that.
            ("Identity", [{ } same]) => Named(node.Output[0]) ?? same,
            ("Dropout", [{ } same, ..]) => same,
            ("Transpose", [{ Numbers: { } numbers }]) => Transposed(numbers, node.Attribute.FirstOrDefault(a => a.Name == "perm")?.Ints.ToArray()),
            ("Unsqueeze" or "Squeeze" or "Cast", [{ Integers.Length: > 0 } same, ..]) => same,
            ("Gather", [{ Integers: { Length: > 0 } from }, { Integers: [var place] }]) => place >= 0 && place < from.Length ? Whole([from[place]])
                : throw new FormatException($"asks node \"{node.Name}\" for size {place} of a value, expected that of the rows alone: leave dynamic_axes out"),
            ("Concat", _) when Array.TrueForAll(inputs, i => i?.Integers.Length > 0) => Whole([.. inputs.SelectMany(i => i!.Integers)]),
            _ => null,
        };
    }

    // Weights of a layer over more than two dimensions.
    private static Operand Transposed(Func<TraceWriter, Tensor> numbers, long[]? order)
    {
        Tensor Ordered(TraceWriter w) => numbers(w) is var given && order is null ? given.permute([.. Enumerable.Range(0, (int)given.dim()).Reverse().Select(d => (long)d)]) : given.permute(order);
        return new Operand(w => w.Constant(Ordered(w), "transposed"), Ordered);
    }

    private string Write(NodeProto node, TraceWriter writer, string[] inputs)
    {
        var attributes = node.Attribute.Where(a => a.Name != "momentum" && !(s_silent.TryGetValue(a.Name, out var known) && a.I == known) && !(a.Name == "auto_pad" && a.S.ToStringUtf8() == "NOTSET")).ToList();
        if (_opset < AxesAreInputs && node.OpType.StartsWith("Reduce", StringComparison.Ordinal) && attributes.Find(a => a.Name == "axes") is { } axes)
        {
            attributes.Remove(axes);
            inputs = [.. inputs, writer.Integers("axes", [.. axes.Ints])];
        }

        return writer.Node(node.OpType, inputs, attributes);
    }

    // The rows' dimension is as large as there are rows, however many the file was made with.
    private static string Written(NodeProto node, int input, Operand operand, TraceWriter writer) =>
        node.OpType == "Reshape" && input == 1 && operand.Integers is [_, .. var behind] ? writer.Reshaped(behind) : operand.Write(writer);

    // The module's tensor of a name; null: there is none.
    private Operand? Named(string name, IEnumerable<long>? shape = null)
    {
        if (!_tensors.TryGetValue(name, out var own))
            return null;
        if (shape is not null && !own.shape.SequenceEqual(shape))
            throw new FormatException($"has numbers [{string.Join(", ", shape)}] by the name of \"{name}\", which is [{string.Join(", ", own.shape)}]");
        _named.Add(name);
        return new Operand(w => w.Tensor(name), w => w.Current(name));
    }

    private static Operand Constant(NodeProto node) => node.Attribute.FirstOrDefault() switch
    {
        { Name: "value", T: { } tensor } => Constant(tensor),
        { Name: "value_float" } a => Floats([a.F], []),
        { Name: "value_floats" } a => Floats([.. a.Floats], [a.Floats.Count]),
        { Name: "value_int" } a => Whole([a.I]),
        { Name: "value_ints" } a => Whole([.. a.Ints]),
        _ => throw new FormatException($"has a constant \"{node.Name}\" that is no numbers"),
    };

    private static Operand Constant(TensorProto tensor)
    {
        var count = tensor.Dims.Aggregate((Int128)1, (size, d) => d < 0 || size > int.MaxValue ? (Int128)int.MaxValue + 1 : size * d);
        switch (tensor.DataType)
        {
            case (int)TensorProto.Types.DataType.Float when (tensor.FloatData.Count > 0 ? [.. tensor.FloatData] : MemoryMarshal.Cast<byte, float>(tensor.RawData.Span).ToArray()) is var floats && floats.Length == count:
                return Floats(floats, [.. tensor.Dims]);
            case (int)TensorProto.Types.DataType.Int64 when (tensor.Int64Data.Count > 0 ? [.. tensor.Int64Data] : MemoryMarshal.Cast<byte, long>(tensor.RawData.Span).ToArray()) is var whole && whole.Length == count:
                return Whole(whole);
            default:
                throw new FormatException($"has numbers \"{tensor.Name}\" of element type {tensor.DataType} for [{string.Join(", ", tensor.Dims.Take(8))}], expected Float or Int64, all of them in the file itself, or the name of a tensor of the module");
        }
    }

    private static Operand Floats(float[] numbers, long[] shape) => new(w => w.Constant(tensor(numbers).view(shape)), _ => tensor(numbers).view(shape));

    // "To the end" is the largest whole number.
    private static Operand Whole(long[] numbers) => new(w => w.Integers("numbers", Array.ConvertAll(numbers, n => Math.Clamp(n, int.MinValue, int.MaxValue))), null) { Integers = numbers };
}
