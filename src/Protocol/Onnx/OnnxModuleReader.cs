using MLDistributed.Protocol.Weights;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Reads the tensors of a user's own module out of its model: those that its graph has by the names of the module.</summary>
public static class OnnxModuleReader
{
    /// <summary>What the names of such tensors begin with in a graph.</summary>
    public const string Prefix = "module.";

    /// <summary>The tensors, by the names of the module. What the graph has in another form, or no use for, is not among them.</summary>
    /// <param name="onnx">The bytes of a file, of which nothing is believed.</param>
    /// <param name="spec">The job.</param>
    /// <exception cref="FormatException">It is no model of ours.</exception>
    public static IReadOnlyList<NamedTensor> Read(byte[] onnx, JobSpec spec)
    {
        ArgumentNullException.ThrowIfNull(onnx);
        ArgumentNullException.ThrowIfNull(spec);
        return [.. OnnxGraphReader.Read(onnx, spec).Initializer
            .Where(t => t.DataType == (int)TensorProto.Types.DataType.Float && t.Name.StartsWith(Prefix, StringComparison.Ordinal))
            .Select(t => OnnxFile.Floats(t) with { Name = t.Name[Prefix.Length..] })];
    }
}
