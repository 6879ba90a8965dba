using Google.Protobuf;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Parses a model that a worker or a file brings: bounded before objects are made of it, whole, and with finite numbers.</summary>
internal static class OnnxGraphReader
{
    /// <summary>The most bytes of a model besides its tensors' numbers: names, operators, shapes.</summary>
    public const int MaxBytesBesides = 4 << 20;

    private const string Remedy = "Train the model again, and look at the worker that it came from.";

    /// <exception cref="FormatException">It is no model of ours.</exception>
    public static GraphProto Read(byte[] onnx, JobSpec spec)
    {
        var (_, most) = JobModel.Bytes(spec);
        if (onnx.Length > most)
            throw new FormatException($"The model has {onnx.Length:N0} bytes, expected at most {most:N0}. {Remedy}");
        var graph = Parse(onnx);
        foreach (var tensor in graph.Initializer)
            Check(tensor);
        return graph;
    }

    private static GraphProto Parse(byte[] onnx)
    {
        try
        {
            // Empty messages grow a hundredfold when they are parsed.
            if (OnnxWire.BytesBesidesTensors(onnx) is var besides && besides > MaxBytesBesides)
                throw new FormatException($"The model has {besides:N0} bytes besides its tensors' numbers, expected at most {MaxBytesBesides:N0}. {Remedy}");
            var model = ModelProto.Parser.WithDiscardUnknownFields(true).ParseFrom(onnx);
            // Fields that are not ours (functions, files that tensors lie in) and those that came twice are not written again.
            if (model.Graph is null || model.CalculateSize() != onnx.Length || model.OpsetImport.Count != 1 || model.OpsetImport[0] is not { Domain: "", Version: OnnxFrame.Opset })
                throw new FormatException($"The model has fields that are none of ours, or operators of another version than {OnnxFrame.Opset}. {Remedy}");
            return model.Graph;
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new FormatException($"The {onnx.Length:N0} bytes of the model cannot be read ({e.Message}), expected a complete ONNX file. {Remedy}", e);
        }
    }

    private static void Check(TensorProto tensor)
    {
        var count = tensor.Dims.Aggregate((Int128)1, (size, d) => d < 0 || size > int.MaxValue ? (Int128)int.MaxValue + 1 : size * d);
        var isWhole = tensor.DataType switch
        {
            (int)TensorProto.Types.DataType.Float => tensor.Int64Data.Count == 0 && tensor.FloatData.Count == 0 && tensor.RawData.Length == count * sizeof(float),
            (int)TensorProto.Types.DataType.Int64 => tensor.RawData.IsEmpty && tensor.FloatData.Count == 0 && tensor.Int64Data.Count == count,
            _ => false,
        };
        if (!isWhole)
            throw new FormatException($"Tensor \"{VisibleText.Shortened(tensor.Name)}\" of the model has {tensor.RawData.Length:N0} bytes for [{string.Join(", ", tensor.Dims.Take(8))}], expected numbers for all of it. {Remedy}");
    }
}
