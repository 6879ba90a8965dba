using System.Runtime.InteropServices;
using Microsoft.ML.Model.OnnxConverter;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Writes a network's graph into that of a whole ML.NET pipeline (<c>ml.Model.ConvertToOnnx</c>): node by node, but for the
/// operators that are younger than the version which ML.NET writes.
/// </summary>
internal static class OnnxConversion
{
    // Clip's bounds as inputs.
    private const int LeastOpset = 11;
    private const int Single = 1;
    private const int UInt32 = 12; // TensorProto.DataType, ML.NET's keys
    private const string StandardDomain = "";

    private static readonly HashSet<string> s_copied =
    [
        "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "Elu", "Equal", "Exp", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "Greater", "HardSigmoid", "Identity", "IsNaN", "LeakyRelu", "Less", "LogSoftmax",
        "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "Not", "Pad", "Relu", "Reshape", "Selu", "Sigmoid", "Slice", "Softmax", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh", "Transpose", "Where",
    ];

    /// <summary>Whether all of a graph can be written.</summary>
    public static bool CanWrite(GraphProto graph) => graph.Node.All(n => s_copied.Contains(n.OpType) || n.OpType is "HardSwish" or "GreaterOrEqual" or "LessOrEqual" || IsReduction(n)
        || n.OpType is "LayerNormalization" && n.Attribute.All(a => a.Name != "axis" || a.I < 0)
        || n.OpType is "Gelu" && n.Attribute.All(a => a.S.ToStringUtf8() == "none"));

    /// <summary>Writes the graph.</summary>
    /// <param name="context">The pipeline's model.</param>
    /// <param name="graph">The network's.</param>
    /// <param name="features">The pipeline's variable that is the graph's input.</param>
    /// <param name="outputs">The pipeline's variables for outputs of the graph, by their names in it.</param>
    public static void Write(OnnxContext context, GraphProto graph, string features, IReadOnlyDictionary<string, string> outputs)
    {
        context.CheckOpSetVersion(LeastOpset, nameof(NeuralNetworkModel<>));
        var names = new Dictionary<string, string>(outputs, StringComparer.Ordinal) { [OnnxMlpWriter.Features] = features };
        // What becomes an attribute would be left over.
        var read = graph.Node.SelectMany(Read).ToHashSet(StringComparer.Ordinal);
        foreach (var tensor in graph.Initializer.Where(t => read.Contains(t.Name)))
        {
            if (tensor.DataType == (int)TensorProto.Types.DataType.Int64)
            {
                names[tensor.Name] = context.AddInitializer(tensor.Int64Data, tensor.Dims, tensor.Name);
                continue;
            }

            var values = MemoryMarshal.Cast<byte, float>(tensor.RawData.Span).ToArray();
            names[tensor.Name] = tensor.Dims.Count == 0 ? context.AddInitializer(values[0], tensor.Name) : context.AddInitializer(values, tensor.Dims, tensor.Name);
        }

        foreach (var node in graph.Node)
        {
            var inputs = Read(node).Select(i => names[i]).ToArray();
            var output = names.TryGetValue(node.Output[0], out var known) ? known : names[node.Output[0]] = New(context, node.Output[0]);
            switch (node.OpType)
            {
                case "Gelu":
                    WriteGelu(context, inputs[0], output);
                    break;
                case "LayerNormalization":
                    WriteLayerNormalization(context, node, inputs, output);
                    break;
                case "HardSwish":
                    WriteHardSwish(context, inputs[0], output);
                    break;
                case "GreaterOrEqual" or "LessOrEqual":
                    WriteOrEqual(context, node.OpType.Replace("OrEqual", "", StringComparison.Ordinal), inputs, output);
                    break;
                case var _ when IsReduction(node):
                    WriteReduce(context, graph, node, inputs[0], output);
                    break;
                default:
                    Copy(node, Node(context, node.OpType, inputs, output));
                    break;
            }
        }
    }

    /// <summary>The key of the class with the highest score: keys count from 1.</summary>
    public static void WriteKeyOfHighest(OnnxContext context, string score, string key)
    {
        var index = New(context, "index");
        var highest = Node(context, "ArgMax", [score], index);
        highest.AddAttribute("axis", 1);
        highest.AddAttribute("keepdims", 1);
        var counted = New(context, "counted");
        Node(context, "Add", [index, context.AddInitializer([1L], [1L], "one")], counted);
        Node(context, "Cast", [counted], key).AddAttribute("to", UInt32);
    }

    /// <summary>Keys as numbers.</summary>
    /// <returns>The name of the numbers.</returns>
    public static string ToSingle(OnnxContext context, string keys)
    {
        var numbers = New(context, "numbers");
        Node(context, "Cast", [keys], numbers).AddAttribute("to", Single);
        return numbers;
    }

    /// <summary>Columns side by side.</summary>
    public static void Join(OnnxContext context, string[] columns, string output) => Node(context, "Concat", columns, output).AddAttribute("axis", 1);

    // x/2 (1 + erf(x / sqrt 2))
    private static void WriteGelu(OnnxContext context, string input, string output)
    {
        var scaled = Binary(context, "Mul", input, Scalar(context, MathF.Sqrt(0.5f)));
        var erf = New(context, "erf");
        Node(context, "Erf", [scaled], erf);
        var gate = Binary(context, "Add", erf, Scalar(context, 1));
        Node(context, "Mul", [Binary(context, "Mul", input, Scalar(context, 0.5f)), gate], output);
    }

    private static bool IsReduction(NodeProto node) => node.OpType is "ReduceMax" or "ReduceMean" or "ReduceMin" or "ReduceSum";

    private static IEnumerable<string> Read(NodeProto node) => IsReduction(node) ? node.Input.Take(1) : node.Input;

    // Dimensions are an attribute in the version that ML.NET writes.
    private static void WriteReduce(OnnxContext context, GraphProto graph, NodeProto from, string input, string output)
    {
        var node = Node(context, from.OpType, [input], output);
        node.AddAttribute("axes", graph.Initializer.First(t => t.Name == from.Input[1]).Int64Data);
        node.AddAttribute("keepdims", from.Attribute.FirstOrDefault(a => a.Name == "keepdims")?.I ?? 1);
    }

    // x * min(max(x / 6 + 1/2, 0), 1)
    private static void WriteHardSwish(OnnxContext context, string input, string output)
    {
        var gate = New(context, "gate");
        var node = Node(context, "HardSigmoid", [input], gate);
        node.AddAttribute("alpha", 1.0 / 6);
        node.AddAttribute("beta", 0.5);
        Node(context, "Mul", [input, gate], output);
    }

    // Either, which are false of NaN; ML.NET's version has the two apart.
    private static void WriteOrEqual(OnnxContext context, string strict, string[] inputs, string output) =>
        Node(context, "Or", [Binary(context, strict, inputs[0], inputs[1]), Binary(context, "Equal", inputs[0], inputs[1])], output);

    // (x - mean) / sqrt(variance + epsilon) * weight + bias, over the last dimensions
    private static void WriteLayerNormalization(OnnxContext context, NodeProto layer, string[] inputs, string output)
    {
        var first = layer.Attribute.FirstOrDefault(a => a.Name == "axis")?.I ?? -1;
        var axes = Enumerable.Range((int)first, (int)-first).Select(a => (long)a).ToArray();
        var epsilon = layer.Attribute.FirstOrDefault(a => a.Name == "epsilon")?.F ?? OnnxMlpWriter.Epsilon;
        var centered = Binary(context, "Sub", inputs[0], Mean(context, inputs[0], axes));
        var variance = Mean(context, Binary(context, "Mul", centered, centered), axes);
        var deviation = New(context, "deviation");
        Node(context, "Sqrt", [Binary(context, "Add", variance, Scalar(context, epsilon))], deviation);
        var normal = Binary(context, "Div", centered, deviation);
        Node(context, inputs.Length > 2 ? "Add" : "Identity", inputs.Length > 2 ? [Binary(context, "Mul", normal, inputs[1]), inputs[2]] : [Binary(context, "Mul", normal, inputs[1])], output);
    }

    private static string Mean(OnnxContext context, string input, long[] axes)
    {
        var mean = New(context, "mean");
        var node = Node(context, "ReduceMean", [input], mean);
        node.AddAttribute("axes", axes);
        node.AddAttribute("keepdims", 1);
        return mean;
    }

    private static string Binary(OnnxContext context, string operation, string left, string right)
    {
        var output = New(context, operation);
        Node(context, operation, [left, right], output);
        return output;
    }

    private static string Scalar(OnnxContext context, float value) => context.AddInitializer([value], [1L], "constant");

    private static string New(OnnxContext context, string name) => context.AddIntermediateVariable(null, name, skip: true);

    private static OnnxNode Node(OnnxContext context, string operation, string[] inputs, string output) =>
        context.CreateNode(operation, inputs, [output], context.GetNodeName(operation), StandardDomain);

    private static void Copy(NodeProto from, OnnxNode to)
    {
        foreach (var attribute in from.Attribute)
        {
            if (attribute.Type == AttributeProto.Types.AttributeType.Int)
                to.AddAttribute(attribute.Name, attribute.I);
            else if (attribute.Type == AttributeProto.Types.AttributeType.Float)
                to.AddAttribute(attribute.Name, attribute.F);
            else if (from.OpType == "AveragePool" && attribute.Name == "dilations" && attribute.Ints.All(d => d == 1))
                continue; // younger than the version, and as without
            else if (attribute.Type == AttributeProto.Types.AttributeType.Ints)
                to.AddAttribute(attribute.Name, attribute.Ints);
            else if (attribute.Type == AttributeProto.Types.AttributeType.String)
                to.AddAttribute(attribute.Name, attribute.S.ToStringUtf8());
            else
                throw new NotSupportedException($"Attribute \"{attribute.Name}\" of {from.OpType} is {attribute.Type}, expected numbers or a text.");
        }
    }
}
