using DataType = MLDistributed.Protocol.Onnx.TensorProto.Types.DataType;

namespace MLDistributed.Protocol.Onnx;

/// <summary>The types of a graph's values: numbers, whole numbers and truths. Our own programs compute with floats alone; other runtimes refuse a graph that mixes them.</summary>
public sealed class OnnxTypes
{
    private readonly Dictionary<string, DataType> _types = new(StringComparer.Ordinal);

    private OnnxTypes()
    {
    }

    /// <summary>The first node that is given what it does not take, and what that is; null: none is.</summary>
    public (int Node, string Why)? Misfit { get; private set; }

    /// <summary>Finds out the types of a graph whose operators this release knows.</summary>
    public static OnnxTypes Of(GraphProto graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        var types = new OnnxTypes();
        foreach (var tensor in graph.Initializer)
            types._types[tensor.Name] = (DataType)tensor.DataType;
        foreach (var input in graph.Input)
            types._types[input.Name] = (DataType)input.Type.TensorType.ElemType;
        foreach (var (i, node) in graph.Node.Index())
        {
            var given = new Given([.. node.Input.Select(types.Of)]);
            var type = Result(node, given);
            if (given.Misfit is { } why)
            {
                types.Misfit = (i, why);
                break;
            }

            types._types[node.Output[0]] = type;
        }

        return types;
    }

    /// <summary>A value's type; null: nothing makes it, or a node does that comes behind the misfit.</summary>
    public DataType? Of(string name) => _types.TryGetValue(name, out var type) ? type : null;

    /// <summary>A type as TorchSharp calls it.</summary>
    public static string Shown(DataType? type) => type == DataType.Float ? "Float32" : $"{type}";

    private static DataType Result(NodeProto node, Given given)
    {
        switch (node.OpType)
        {
            case "Cast":
                return (DataType)(node.Attribute.FirstOrDefault(a => a.Name == "to")?.I ?? 0);
            case "Not":
                return given.Of(0, DataType.Bool);
            case "IsNaN":
                given.Of(0, DataType.Float);
                return DataType.Bool;
            case "Equal":
                given.Alike(0);
                return DataType.Bool;
            case "Greater" or "GreaterOrEqual" or "Less" or "LessOrEqual":
                given.AlikeNumbers(0);
                return DataType.Bool;
            case "Where":
                given.Of(0, DataType.Bool);
                return given.AlikeNumbers(1);
            case "Add" or "Sub" or "Mul" or "Pow" or "Max" or "Min" or "Neg" or "Abs" or "Sign" or "Clip" or "MatMul":
                return given.AlikeNumbers(0);
            case "Div": // of whole numbers ONNX Runtime drops what is behind the point
                given.Of(1, DataType.Float);
                return given.Of(0, DataType.Float);
            case "ReduceSum" or "ReduceMax" or "ReduceMin":
                given.Of(1, DataType.Int64);
                return given.Numbers(0);
            case "ReduceMean":
                given.Of(1, DataType.Int64);
                return given.Of(0, DataType.Float);
            case "Reshape" or "Expand" or "Slice" or "Gather":
                for (var i = 1; i < node.Input.Count; i++)
                    given.Of(i, DataType.Int64);
                return given.Any(0);
            case "Pad":
                given.Of(1, DataType.Int64);
                return given.Alike(0, except: 1);
            case "Identity" or "Flatten" or "Transpose":
                return given.Any(0);
            case "Concat":
                return given.Alike(0);
            default:
                for (var i = 0; i < node.Input.Count; i++)
                    given.Of(i, DataType.Float);
                return DataType.Float;
        }
    }

    // The types of a node's inputs, of which some may be left out, and the first that is another than it takes.
    private sealed class Given(DataType?[] types)
    {
        public string? Misfit { get; private set; }

        public DataType Any(int input) => input < types.Length ? types[input] ?? DataType.Float : DataType.Float;

        public DataType Of(int input, DataType expected)
        {
            if (input < types.Length && types[input] is { } type && type != expected)
                Misfit ??= $"is given {Shown(type)} as its input {input}, expected {Shown(expected)}";
            return expected;
        }

        public DataType Numbers(int input)
        {
            if (Any(input) is not (DataType.Float or DataType.Int64))
                Misfit ??= $"is given {Shown(Any(input))} as its input {input}, expected {Shown(DataType.Float)} or {Shown(DataType.Int64)}";
            return Any(input);
        }

        public DataType AlikeNumbers(int first)
        {
            Numbers(first);
            return Alike(first);
        }

        public DataType Alike(int first, int except = -1)
        {
            for (var i = first + 1; i < types.Length; i++)
                if (i != except && types[i] is { } type && type != Any(first))
                    Misfit ??= $"is given {Shown(Any(first))} as its input {first} and {Shown(type)} as its input {i}, expected them alike";
            return Any(first);
        }
    }
}
