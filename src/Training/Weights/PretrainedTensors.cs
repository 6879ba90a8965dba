using MLDistributed.Protocol.Weights;

namespace MLDistributed.Training.Weights;

/// <summary>Reads the weights of others that a training starts from, by the names of the module's tensors.</summary>
internal static class PretrainedTensors
{
    /// <summary>Opens a file that fits a module.</summary>
    /// <exception cref="FormatException">It is no safetensors file, or does not fit; names the tensors.</exception>
    public static SafetensorsReader Open(string path, IPretrainedKind kind)
    {
        var file = new SafetensorsReader(path);
        var misfits = PretrainedFit.Misfits(kind.Tensors, name => file.Has(name) ? file.Shape(name) : null);
        if (misfits.Count == 0)
            return file;
        file.Dispose();
        throw new FormatException(string.Join(' ', misfits));
    }

    /// <summary>Whether the file has a tensor, of that shape.</summary>
    public static bool Has(SafetensorsReader file, string name, long[] shape) => file.Has(name) && file.Shape(name).AsSpan().SequenceEqual(shape);

    /// <summary>Reads a tensor.</summary>
    /// <exception cref="FormatException">It holds numbers that are not finite.</exception>
    public static void Read(SafetensorsReader file, string name, Span<float> into)
    {
        file.Read(name, 0, into);
        var wrong = into.IndexOfAnyExceptInRange(float.MinValue, float.MaxValue);
        if (wrong >= 0)
            throw new FormatException($"Starting weights \"{name}\" hold {into[wrong]} at {wrong:N0}, expected finite numbers.");
    }
}
