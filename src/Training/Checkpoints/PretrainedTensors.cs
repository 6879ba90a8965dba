using MLDistributed.Protocol.Weights;

namespace MLDistributed.Training.Checkpoints;

/// <summary>Reads the weights of others that a training starts from, by the names of the module's tensors.</summary>
internal static unsafe class PretrainedTensors
{
    /// <summary>The first rank of a memory reads the parameters, every rank the running statistics. What the file lacks stays as it is. The caller lets the ranks meet afterwards.</summary>
    /// <param name="path">A safetensors file.</param>
    /// <param name="state">Of this rank.</param>
    /// <exception cref="FormatException">It is none, does not fit the module, or holds numbers that are not finite; names the tensors.</exception>
    public static void Read(string path, ITrainedState state)
    {
        using var file = Open(path, state.Spec.Module.Kind as IPretrainedKind ?? throw new FormatException("The job's module takes no starting weights, expected a kind whose parameters have names of their own."));
        if (state.IsFirstOfMemory)
            foreach (var tensor in state.Layout.Parameters.Where(t => file.Has(t.Name)))
                Read(file, tensor.Name, new Span<float>(state.Parameters + tensor.Start, checked((int)tensor.Length)));
        foreach (var tensor in state.Layout.Buffers.Where(t => file.Has(t.Name)))
            Read(file, tensor.Name, state.Model.Buffers.AsSpan((int)tensor.Start, (int)tensor.Length));
    }

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
