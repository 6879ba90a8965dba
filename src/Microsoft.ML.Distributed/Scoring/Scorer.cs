using Google.Protobuf;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>Picks the engine for a model: the managed one for what our writer writes, ONNX Runtime for all else.</summary>
internal static class Scorer
{
    /// <exception cref="FormatException">The bytes are not an ONNX model with our input and output.</exception>
    public static IScorer Create(byte[] onnx)
    {
        var model = Parse(onnx);
        var inputs = Columns(model.Graph.Input, OnnxMlpWriter.Features, "input");
        var outputs = Columns(model.Graph.Output, OnnxMlpWriter.Score, "output");
        return DenseStack.TryRead(model, inputs, outputs) is { } stack ? stack : new OnnxRuntimeScorer(onnx, inputs, outputs);
    }

    private static ModelProto Parse(byte[] onnx)
    {
        try
        {
            var model = ModelProto.Parser.ParseFrom(onnx);
            return model.Graph is null ? throw new FormatException("The ONNX model has no graph, expected one that MLDistributed wrote. Train the model again.") : model;
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new FormatException($"The {onnx.Length:N0} bytes of the ONNX model cannot be read ({e.Message}), expected a complete model. Save or train the model again.", e);
        }
    }

    private static int Columns(IEnumerable<ValueInfoProto> values, string name, string kind)
    {
        var dims = values.FirstOrDefault(v => v.Name == name)?.Type?.TensorType?.Shape?.Dim;
        return dims is { Count: 2 } && dims[1].DimValue is > 0 and <= int.MaxValue
            ? (int)dims[1].DimValue
            : throw new FormatException($"The ONNX model has no {kind} \"{name}\" of shape [N, size], expected one that MLDistributed wrote. Train the model again.");
    }
}
