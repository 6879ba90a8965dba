namespace MLDistributed.Protocol.Onnx;

/// <summary>
/// Reads what <see cref="OnnxMlpWriter"/> wrote for a job, and nothing else: the model comes from a worker or a file, and both
/// may hold anything. A graph is taken when it is, but for its numbers, the one that the writer makes for the job's
/// specification: each operator, name, shape and output. Nothing is allocated that the specification does not ask for.
/// </summary>
public static class OnnxMlpReader
{
    /// <summary>The tensors by their names in the module, and the constants around them, as <see cref="OnnxMlpWriter"/> names them.</summary>
    /// <param name="onnx">The bytes of a file.</param>
    /// <param name="spec">The job.</param>
    /// <exception cref="FormatException">The model is not one that the writer writes for the job; names the node or tensor.</exception>
    public static IReadOnlyDictionary<string, float[]> Read(byte[] onnx, JobSpec spec)
    {
        ArgumentNullException.ThrowIfNull(onnx);
        var (least, most) = OnnxMlpSize.Of(spec);
        if (onnx.Length < least || onnx.Length > most)
            throw new FormatException($"The model has {onnx.Length:N0} bytes, expected {least:N0} to {most:N0} for the layers of its job. Train the model again.");
        return OnnxSkeleton.Read(onnx, most - least, graph =>
            OnnxMlpWriter.Skeleton(spec, hasLeastProbabilities: graph.Initializer.Any(t => t.Name is OnnxMlpWriter.ScoreLeast or OnnxMlpWriter.ProbabilityLeast)));
    }
}
