using System.Runtime.InteropServices;
using Google.Protobuf;

namespace MLDistributed.Protocol.Onnx;

/// <summary>
/// Takes an ONNX file when it is, but for its numbers, the one that our writer makes for a job: each operator, name, shape and
/// output. Nothing is allocated that the job's specification does not ask for.
/// </summary>
internal static class OnnxSkeleton
{
    public const string Remedy = "MLDistributed wrote another for this job. Train the model again, and look at the worker that it came from.";
    private const int MaxVersionLength = 64;

    /// <summary>The tensors by their names.</summary>
    /// <param name="onnx">The bytes of a file.</param>
    /// <param name="mostBesides">The most bytes that are no numbers of tensors.</param>
    /// <param name="expect">The model that the writer makes, without the module's numbers.</param>
    /// <param name="hasFixedConstants">Whether numbers that <paramref name="expect"/> has must be the same.</param>
    /// <exception cref="FormatException">It is another; names the node or tensor.</exception>
    public static IReadOnlyDictionary<string, float[]> Read(byte[] onnx, long mostBesides, Func<GraphProto, ModelProto> expect, bool hasFixedConstants = false)
    {
        var model = Parse(onnx, mostBesides);
        var expected = expect(model.Graph);
        CompareGraphs(model.Graph, expected.Graph);
        var tensors = ReadTensors(model.Graph, expected.Graph, hasFixedConstants);
        CompareFrames(model, expected);
        return tensors;
    }

    private static ModelProto Parse(byte[] onnx, long mostBesidesData)
    {
        try
        {
            // Empty messages grow a hundredfold when they are parsed: there may be no more of them than our own file has.
            if (OnnxWire.BytesBesidesTensors(onnx) is var besides && besides > mostBesidesData)
                throw new FormatException($"The model has {besides:N0} bytes besides its tensors' numbers, expected at most {mostBesidesData:N0}. {Remedy}");
            var model = ModelProto.Parser.WithDiscardUnknownFields(true).ParseFrom(onnx);
            if (model.Graph is null)
                throw new FormatException($"The model has no graph. {Remedy}");
            // Fields that are not ours (functions, files that tensors lie in) and those that came twice are not written again.
            return model.CalculateSize() == onnx.Length ? model : throw new FormatException($"The model has fields that are none of ours. {Remedy}");
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new FormatException($"The {onnx.Length:N0} bytes of the model cannot be read ({e.Message}), expected a complete ONNX file. Save or train the model again.", e);
        }
    }

    private static void CompareGraphs(GraphProto graph, GraphProto expected)
    {
        for (var i = 0; i < Math.Max(graph.Node.Count, expected.Node.Count); i++)
        {
            if (i >= expected.Node.Count)
                throw new FormatException($"{Named(graph.Node[i], i)} comes behind the last. {Remedy}");
            if (i >= graph.Node.Count)
                throw new FormatException($"The model ends before node {i}, expected {expected.Node[i].OpType} there. {Remedy}");
            if (!graph.Node[i].Equals(expected.Node[i]))
                throw new FormatException($"{Named(graph.Node[i], i)} is not the {expected.Node[i].OpType} of ({string.Join(", ", expected.Node[i].Input)}) that belongs there. {Remedy}");
        }

        if (!graph.Input.Equals(expected.Input))
            throw new FormatException($"The model's input is not \"{OnnxMlpWriter.Features}\" of the shape [N, {expected.Input[0].Type.TensorType.Shape.Dim[1].DimValue}]. {Remedy}");
        if (!graph.Output.Equals(expected.Output))
            throw new FormatException($"The model's outputs are not {string.Join(" and ", expected.Output.Select(o => $"\"{o.Name}\""))} of the shape [N, {expected.Output[0].Type.TensorType.Shape.Dim[1].DimValue}]. {Remedy}");
    }

    private static Dictionary<string, float[]> ReadTensors(GraphProto graph, GraphProto expected, bool hasFixedConstants)
    {
        var tensors = new Dictionary<string, float[]>(StringComparer.Ordinal);
        if (graph.Initializer.Count != expected.Initializer.Count)
            throw new FormatException($"The model has {graph.Initializer.Count:N0} tensors, expected {expected.Initializer.Count:N0}. {Remedy}");
        for (var i = 0; i < expected.Initializer.Count; i++)
        {
            var (tensor, ours) = (graph.Initializer[i], expected.Initializer[i]);
            var isFixed = ours.DataType != (int)TensorProto.Types.DataType.Float || (hasFixedConstants && !ours.RawData.IsEmpty);
            if (isFixed && !tensor.Equals(ours))
                throw new FormatException($"Tensor {i} of the model, \"{Shown(tensor.Name)}\", is not the constant \"{ours.Name}\" [{string.Join(", ", ours.Dims)}], which belongs there. {Remedy}");
            if (ours.DataType != (int)TensorProto.Types.DataType.Float)
                continue;
            var data = tensor.RawData;
            (tensor.RawData, ours.RawData) = (ByteString.Empty, ByteString.Empty);
            if (!tensor.Equals(ours) || data.Length != ours.Dims.Aggregate((Int128)sizeof(float), (size, d) => size * d))
                throw new FormatException($"Tensor {i} of the model, \"{Shown(tensor.Name)}\" [{string.Join(", ", tensor.Dims.Take(4))}] with {data.Length:N0} bytes, is not \"{ours.Name}\" [{string.Join(", ", ours.Dims)}], which belongs there. {Remedy}");
            tensors[ours.Name] = Values(data, ours.Name);
        }

        return tensors;
    }

    private static float[] Values(ByteString data, string name)
    {
        var values = MemoryMarshal.Cast<byte, float>(data.Span).ToArray();
        if (!BitConverter.IsLittleEndian)
            foreach (ref var bits in MemoryMarshal.Cast<float, int>(values.AsSpan()))
                bits = System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(bits);

        // Training fails rather than return such weights: nothing can be predicted with them.
        var least = name.EndsWith(".running_var", StringComparison.Ordinal) ? 0 : float.MinValue;
        var wrong = values.AsSpan().IndexOfAnyExceptInRange(least, float.MaxValue);
        return wrong < 0 ? values : throw new FormatException($"Tensor \"{name}\" of the model is {values[wrong]} at {wrong:N0}, expected finite numbers{(least == 0 ? " from 0" : "")}. {Remedy}");
    }

    // All that is left: versions, and what people may read in it.
    private static void CompareFrames(ModelProto model, ModelProto expected)
    {
        var graph = (model.Graph.Name, model.Graph.DocString, model.Graph.ValueInfo.Count);
        if (graph != (expected.Graph.Name, "", 0))
            throw new FormatException($"The model's graph is called \"{Shown(graph.Name)}\" and has {graph.Count:N0} descriptions of values, expected \"{expected.Graph.Name}\" and none. {Remedy}");
        (model.Graph, expected.Graph) = (null, null);
        expected.ProducerVersion = model.ProducerVersion.Length <= MaxVersionLength ? model.ProducerVersion : "";
        if (!model.Equals(expected))
            throw new FormatException($"The model's versions and notes are not those of an MLDistributed model (ONNX version {model.IrVersion}, expected {expected.IrVersion}). {Remedy}");
    }

    private static string Named(NodeProto node, int index) => $"Node {index} of the model, \"{Shown(node.Name)}\" ({Shown(node.OpType)}),";

    private static string Shown(string text) => VisibleText.Of(text.Length <= MaxVersionLength ? text : text[..MaxVersionLength] + "...");
}
