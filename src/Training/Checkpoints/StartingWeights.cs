using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;
using MLDistributed.Training.Weights;

namespace MLDistributed.Training.Checkpoints;

/// <summary>Reads the parameters that a training starts from: those of a model of the same job, but for how it is trained.</summary>
internal static unsafe class StartingWeights
{
    /// <summary>The first rank of a memory reads the parameters, every rank the running statistics. The caller lets the ranks meet afterwards.</summary>
    /// <param name="path">The ONNX file of the model.</param>
    /// <param name="state">Of this rank.</param>
    /// <exception cref="FormatException">It is not one that our own code writes for the job; names the node or tensor.</exception>
    public static void Read(string path, ITrainedState state)
    {
        if (!state.IsFirstOfMemory && state.Layout.Buffers.Count == 0)
            return;
        var (least, most) = OnnxMlpSize.Of(state.Spec);
        if (new FileInfo(path).Length is var length && (length < least || length > most))
            throw new FormatException($"The model to start from has {length:N0} bytes, expected {least:N0} to {most:N0} for the layers of the job. Start from a model with the same layers.");
        var tensors = OnnxMlpReader.Read(File.ReadAllBytes(path), state.Spec);
        foreach (var tensor in state.Layout.Parameters)
            if (state.IsFirstOfMemory)
                tensors[tensor.Name].CopyTo(new Span<float>(state.Parameters + tensor.Start, checked((int)tensor.Length)));
        foreach (var tensor in state.Layout.Buffers)
            tensors[tensor.Name].CopyTo(state.Model.Buffers.AsSpan((int)tensor.Start, (int)tensor.Length));
    }

    /// <summary>The same of weights of others, by the names of the module's tensors. What the file lacks, or has for another task, stays as it is.</summary>
    /// <param name="path">A safetensors file.</param>
    /// <param name="state">Of this rank.</param>
    /// <exception cref="FormatException">It is none, does not fit the module, or holds numbers that are not finite; names the tensors.</exception>
    public static void ReadPretrained(string path, ITrainedState state)
    {
        // A module of a user's own has looked already: what it has shows when it is made.
        using var file = state.Spec.Module.Torch is not null ? new SafetensorsReader(path)
            : PretrainedTensors.Open(path, state.Spec.Module.Kind as IPretrainedKind ?? throw new FormatException("The job's module takes no starting weights, expected a kind whose parameters have names of their own."));
        if (state.IsFirstOfMemory)
            foreach (var tensor in state.Layout.Parameters.Where(t => PretrainedTensors.Has(file, t.Name, t.Shape)))
                PretrainedTensors.Read(file, tensor.Name, new Span<float>(state.Parameters + tensor.Start, checked((int)tensor.Length)));
        foreach (var tensor in state.Layout.Buffers.Where(t => PretrainedTensors.Has(file, t.Name, t.Shape)))
            PretrainedTensors.Read(file, tensor.Name, state.Model.Buffers.AsSpan((int)tensor.Start, (int)tensor.Length));
    }
}
