using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Makes a program of a graph: finds out all shapes, and refuses what is not known, does not fit, or is too large.</summary>
internal sealed class OnnxPlanner(GraphProto graph, int inputs)
{
    // Of a row: 256 MiB for each thread that scores.
    private const long MaxValues = 64 << 20;
    private const int MaxNodes = 20_000;

    private readonly Dictionary<string, OnnxOperand> _operands = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int[]> _integers = new(StringComparer.Ordinal);
    private readonly List<OnnxStep> _steps = [];
    private readonly List<int> _lengths = [];
    private long _total;
    private int _nodes;

    /// <param name="outputs">Numbers that the output "score" must have.</param>
    /// <exception cref="FormatException">It cannot be run; names the node.</exception>
    public OnnxProgram Plan(int outputs)
    {
        var input = AddAll();
        if (!IsOutput(OnnxMlpWriter.Score, out var score) || score.Length != outputs)
            throw new FormatException($"The model's output \"{OnnxMlpWriter.Score}\" is {(score is null ? "missing" : $"[N, {string.Join(", ", score.Dims)}]")}, expected [N, {outputs}].");
        return new OnnxProgram([.. _steps], [.. _lengths], input.Slot, [score.Slot]);
    }

    /// <param name="names">The outputs that it must have, of any size.</param>
    /// <exception cref="FormatException">It cannot be run; names the node.</exception>
    public OnnxProgram Plan(IEnumerable<string> names)
    {
        var input = AddAll();
        var outputs = names.Select(name => IsOutput(name, out var output) ? output.Slot
            : throw new FormatException($"The model's output \"{name}\" is {(output is null ? "missing" : $"[N, {string.Join(", ", output.Dims)}]")}, expected [N, size].")).ToArray();
        return new OnnxProgram([.. _steps], [.. _lengths], input.Slot, outputs);
    }

    /// <summary>The shapes of a row's values whose first dimension counts rows.</summary>
    /// <param name="nodes">How many nodes fit, up to the first that does not.</param>
    public Dictionary<string, int[]> Shapes(out int nodes)
    {
        try
        {
            AddAll();
        }
        catch (FormatException)
        {
            // What is known so far.
        }

        nodes = _nodes;
        return _operands.Where(o => o.Value is { IsConstant: false, RowAxis: 0 }).ToDictionary(o => o.Key, o => o.Value.Dims, StringComparer.Ordinal);
    }

    private bool IsOutput(string name, [NotNullWhen(true)] out OnnxOperand? output) =>
        _operands.TryGetValue(name, out output) && !output.IsConstant && output.RowAxis == 0 && output.Dims.Length == 1;

    private OnnxOperand AddAll()
    {
        if (graph.Node.Count > MaxNodes)
            throw new FormatException($"The model has {graph.Node.Count:N0} nodes, expected at most {MaxNodes:N0}.");
        foreach (var tensor in graph.Initializer)
            Add(tensor);
        if (graph.Input.Count != 1 || graph.Input[0].Name != OnnxMlpWriter.Features)
            throw new FormatException($"The model's inputs are {string.Join(", ", graph.Input.Take(4).Select(i => $"\"{VisibleText.Shortened(i.Name)}\""))}, expected \"{OnnxMlpWriter.Features}\" alone.");
        var input = NewValue(OnnxMlpWriter.Features, [inputs]);
        for (; _nodes < graph.Node.Count; _nodes++)
            Add(graph.Node[_nodes], _nodes);
        return input;
    }

    private void Add(TensorProto tensor)
    {
        if (tensor.DataType == (int)TensorProto.Types.DataType.Int64)
        {
            _integers[tensor.Name] = [.. tensor.Int64Data.Select(i => i is >= -1 and <= int.MaxValue ? (int)i : throw new FormatException($"Tensor \"{VisibleText.Shortened(tensor.Name)}\" holds {i}, expected sizes."))];
            return;
        }

        if (tensor.Dims.Any(d => d < 1))
            throw new FormatException($"Tensor \"{VisibleText.Shortened(tensor.Name)}\" of the model is [{string.Join(", ", tensor.Dims.Take(8))}], expected sizes of at least 1.");
        var values = MemoryMarshal.Cast<byte, float>(tensor.RawData.Span).ToArray();
        if (!BitConverter.IsLittleEndian)
            foreach (ref var bits in MemoryMarshal.Cast<float, int>(values.AsSpan()))
                bits = System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(bits);
        if (values.AsSpan().IndexOfAnyExceptInRange(float.MinValue, float.MaxValue) is var wrong and >= 0)
            throw new FormatException($"Tensor \"{VisibleText.Shortened(tensor.Name)}\" of the model is {values[wrong]} at {wrong:N0}, expected finite numbers.");
        _operands[tensor.Name] = new OnnxOperand([.. tensor.Dims.Select(d => (int)d)], Slot: -1, values);
    }

    private void Add(NodeProto node, int index)
    {
        try
        {
            if (node.Output.Count != 1 || node.Domain.Length > 0 || _operands.ContainsKey(node.Output[0]))
                throw new FormatException("has a domain, several outputs, or one that is there already");
            var attributes = new OnnxAttributes(node);
            var operators = new OnnxOperators(node, attributes, Operand, Integers, (dims, rowAxis) => NewValue(node.Output[0], dims, rowAxis), Take);
            if (operators.Plan() is { } step)
                _steps.Add(step);
            attributes.RequireNoOther();
        }
        catch (Exception e) when (e is FormatException or OverflowException or IndexOutOfRangeException or ArgumentException)
        {
            throw new FormatException($"Node {index} of the model, \"{VisibleText.Shortened(node.Name)}\" ({VisibleText.Shortened(node.OpType)}), {(e is FormatException ? e.Message : e is OverflowException ? "is too large" : "has shapes that do not fit")}. Train the model again, and look at the worker that it came from.", e);
        }
    }

    private OnnxOperand Operand(string name) => _operands.TryGetValue(name, out var operand) ? operand : throw new FormatException($"reads \"{VisibleText.Shortened(name)}\", which nothing before it makes");

    private int[] Integers(string name) => _integers.TryGetValue(name, out var values) ? values : throw new FormatException($"reads \"{VisibleText.Shortened(name)}\", expected constant whole numbers");

    private OnnxOperand NewValue(string name, int[] dims, int rowAxis = 0)
    {
        if (dims.Length > 7 || dims.Any(d => d < 1))
            throw new FormatException($"makes [N, {string.Join(", ", dims.Take(8))}], expected up to 7 sizes of at least 1");
        var operand = new OnnxOperand(dims, _lengths.Count) { RowAxis = rowAxis };
        Take(operand.Length);
        _lengths.Add(operand.Length);
        return _operands[name] = operand;
    }

    private void Take(long values)
    {
        if ((_total += values) > MaxValues)
            throw new FormatException($"brings the values of a row to {_total:N0}, expected at most {MaxValues:N0}");
    }
}
