namespace MLDistributed.Protocol.Onnx;

/// <summary>Reads what <see cref="OnnxTextWriter"/> wrote for a job, and nothing else.</summary>
public static class OnnxTextReader
{
    // Operators, names and shapes.
    private const int MaxBytesPerLayer = 16 << 10;
    private const int MaxBytesBesides = 32 << 10;
    private const int MaxBytesPerToken = 16;

    /// <summary>The bytes of a model file: of its numbers alone, and with the most that names and operators take.</summary>
    /// <param name="spec">The job, of which nothing is believed.</param>
    /// <exception cref="FormatException">No job has such an encoder.</exception>
    public static (long Least, long Most) Bytes(JobSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var text = spec.Module?.Text ?? throw new FormatException("The job has no text encoder, expected one. Train the model again.");
        var errors = new TextEncoderKind(text).Errors(spec.Task).ToList();
        if (!Enum.IsDefined(spec.Task) || spec.Task == MlTask.Unspecified || text.OutputSize < 1 || errors.Count > 0)
            throw new FormatException($"The job's text encoder is none: {(errors.Count > 0 ? errors[0] : "its task is not known.")} Update the package, or train the model again.");
        var least = TextTensors.Of(text).Aggregate(Int128.Zero, (sum, t) => sum + t.Length) * sizeof(float);
        return least <= int.MaxValue
            ? ((long)least, (long)least + MaxBytesBesides + ((long)MaxBytesPerLayer * text.Layers) + ((long)MaxBytesPerToken * text.InputSize))
            : throw new FormatException($"The job's text encoder has {least:N0} bytes of numbers, expected less than 2 GiB, which an ONNX file holds. Train the model again.");
    }

    /// <summary>The tensors by their names in <see cref="TextTensors"/>, and the constants of <see cref="OnnxMlpWriter"/> behind them.</summary>
    /// <param name="onnx">The bytes of a file.</param>
    /// <param name="spec">The job.</param>
    /// <exception cref="FormatException">The model is not one that the writer writes for the job; names the node or tensor.</exception>
    public static IReadOnlyDictionary<string, float[]> Read(byte[] onnx, JobSpec spec)
    {
        ArgumentNullException.ThrowIfNull(onnx);
        var (least, most) = Bytes(spec);
        if (onnx.Length < least || onnx.Length > most)
            throw new FormatException($"The model has {onnx.Length:N0} bytes, expected {least:N0} to {most:N0} for the layers of its job. Train the model again.");
        return OnnxSkeleton.Read(onnx, most - least, _ => OnnxTextWriter.Skeleton(spec), hasFixedConstants: true);
    }
}
