namespace MLDistributed.Training.Models;

/// <summary>A copy of a module's parameters and running statistics, flat.</summary>
internal sealed unsafe record ModelWeights(float[] Parameters, float[] Buffers)
{
    public static ModelWeights Copy(float* parameters, long length, float[] buffers)
    {
        var copy = new float[length];
        for (var start = 0L; start < length; start += int.MaxValue)
            new ReadOnlySpan<float>(parameters + start, (int)Math.Min(int.MaxValue, length - start)).CopyTo(copy.AsSpan((int)start));
        return new ModelWeights(copy, [.. buffers]);
    }

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, float[]> ByName(FlatLayout layout)
    {
        var tensors = new Dictionary<string, float[]>();
        foreach (var p in layout.Parameters)
            tensors[p.Name] = Parameters.AsSpan((int)p.Start, (int)p.Length).ToArray();
        foreach (var b in layout.Buffers)
            tensors[b.Name] = Buffers.AsSpan((int)b.Start, (int)b.Length).ToArray();
        return tensors;
    }
}
