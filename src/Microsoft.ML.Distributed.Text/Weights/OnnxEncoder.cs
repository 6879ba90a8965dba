using System.Runtime.InteropServices;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>
/// An encoder that PyTorch exported as ONNX. Embeddings, norms and biases have their names there; a linear layer's matrix has none,
/// and is found as what the bias's Add gets from a MatMul.
/// </summary>
internal static class OnnxEncoder
{
    private const double NormEpsilon = 1e-12;

    public static TextWeights Read(Stream stream, TextVocabulary vocabulary, TextPooling pooling)
    {
        var graph = OnnxFile.Read(stream).Graph;
        var makers = Makers(graph);
        var tensors = new Dictionary<string, NamedTensor>(StringComparer.Ordinal);
        foreach (var tensor in graph.Initializer.Where(t => t.DataType == (int)TensorProto.Types.DataType.Float))
            tensors[tensor.Name] = OnnxFile.Floats(tensor);
        var found = EncoderTensors.Renamed(Named(graph, makers, tensors));
        var (tokens, width) = EncoderTensors.Table(found, TextTensors.Words, "The ONNX file");
        if (tokens < vocabulary.Tokens.Count)
            throw new FormatException($"The vocabulary has {vocabulary.Tokens.Count:N0} tokens, expected at most the {tokens:N0} that the ONNX file has.");
        return new TextWeights(vocabulary, found.Values)
        {
            VocabularySize = tokens,
            Width = width,
            Layers = EncoderTensors.Layers(found.Keys),
            Heads = Heads(graph, makers, width),
            FeedForwardSize = EncoderTensors.Table(found, $"{TextTensors.InLayer(0, TextTensors.Targets["up"])}.weight", "The ONNX file").Rows,
            Positions = EncoderTensors.Table(found, TextTensors.Positions, "The ONNX file").Rows,
            NormEpsilon = NormEpsilon,
            Activation = graph.Node.Any(n => n.OpType is "Erf" or "Gelu") ? Activation.Gelu : Activation.Relu,
            Pooling = pooling,
        };
    }

    // Those with names, and matrices by the names of their biases.
    private static IEnumerable<NamedTensor> Named(GraphProto graph, Dictionary<string, NodeProto> makers, Dictionary<string, NamedTensor> tensors)
    {
        foreach (var node in graph.Node.Where(n => n.OpType == "Add" && n.Input.Count == 2))
        {
            var bias = node.Input.FirstOrDefault(i => i.EndsWith(".bias", StringComparison.Ordinal) && tensors.ContainsKey(i));
            var product = bias is null ? null : makers.GetValueOrDefault(node.Input.First(i => i != bias));
            if (product is { OpType: "MatMul", Input: [_, var matrix] } && tensors.TryGetValue(matrix, out var values) && values.Shape.Length == 2)
                yield return Transposed(values, string.Concat(bias![..^".bias".Length], ".weight"));
        }

        foreach (var tensor in tensors.Values)
            yield return tensor;
    }

    // Which node makes a value.
    private static Dictionary<string, NodeProto> Makers(GraphProto graph)
    {
        var makers = new Dictionary<string, NodeProto>(StringComparer.Ordinal);
        foreach (var node in graph.Node)
            foreach (var output in node.Output)
                makers.TryAdd(output, node);
        return makers;
    }

    // How many heads there are, the attention's shapes tell: [rows, tokens, heads, width of one].
    private static int Heads(GraphProto graph, Dictionary<string, NodeProto> makers, int width)
    {
        var constants = graph.Node.Where(n => n is { OpType: "Constant", Output.Count: 1 }).SelectMany(n => n.Attribute.Select(a => (Name: n.Output[0], Value: a.T))).Where(c => c.Value is not null)
            .Concat(graph.Initializer.Select(t => (t.Name, Value: t)))
            .Where(c => c.Value.DataType == (int)TensorProto.Types.DataType.Int64)
            .GroupBy(c => c.Name, StringComparer.Ordinal).ToDictionary(g => g.Key, g => Integers(g.First().Value), StringComparer.Ordinal);
        foreach (var shape in graph.Node.Where(n => n.OpType == "Reshape" && n.Input.Count == 2).Select(n => n.Input[1]))
        {
            var sizes = Sizes(shape);
            if (sizes is [_, _, > 0 and var heads, > 0 and var size] && heads * size == width)
                return (int)heads;
        }

        throw new FormatException($"The ONNX file has no attention over heads of a width that makes {width} together, expected an encoder of BERT's kind.");

        // A shape that is written out, or put together of what is known and what is not.
        long[] Sizes(string name) => constants.TryGetValue(name, out var whole) ? whole
            : makers.GetValueOrDefault(name) is { OpType: "Concat" } concat ? [.. concat.Input.SelectMany(Part)] : [];

        long[] Part(string name) => constants.TryGetValue(name, out var known) ? known
            : makers.GetValueOrDefault(name) is { OpType: "Unsqueeze", Input: [var inner, ..] } && constants.TryGetValue(inner, out var scalar) ? scalar : [-1];
    }

    private static long[] Integers(TensorProto tensor) => tensor.Int64Data.Count > 0 ? [.. tensor.Int64Data] : MemoryMarshal.Cast<byte, long>(tensor.RawData.Span).ToArray();

    private static NamedTensor Transposed(NamedTensor matrix, string name)
    {
        var (inputs, outputs) = (checked((int)matrix.Shape[0]), checked((int)matrix.Shape[1]));
        var values = new float[matrix.Values.Length];
        MatrixMatrix.Transpose(matrix.Values, values, outputs);
        return new NamedTensor(name, [outputs, inputs], values);
    }
}
