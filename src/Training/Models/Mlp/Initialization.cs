using MLDistributed.Protocol;
using MLDistributed.Training.Data;

namespace MLDistributed.Training.Models;

/// <summary>First parameters, from the seed alone: He et al. 2015 (uniform) before an activation, 1/sqrt(inputs) for the outputs, norms 1, biases 0 but for the outputs', which the specification may name.</summary>
internal static unsafe class Initialization
{
    private const ulong Stream = 0x696e6974;

    public static void Fill(FlatLayout layout, MlpSpec mlp, ulong seed, float* parameters)
    {
        for (var i = 0; i < layout.Parameters.Count; i++)
        {
            var tensor = layout.Parameters[i];
            var values = new Span<float>(parameters + tensor.Start, checked((int)tensor.Length));
            if (tensor.Shape.Length == 1)
            {
                if (mlp.OutputBias.Count > 0 && tensor.Name == $"layers.{mlp.HiddenSizes.Count}.bias")
                {
                    for (var j = 0; j < values.Length; j++)
                        values[j] = mlp.OutputBias[j];
                    continue;
                }

                values.Fill(tensor.Name.StartsWith("norms", StringComparison.Ordinal) && tensor.Name.EndsWith("weight", StringComparison.Ordinal) ? 1 : 0);
                continue;
            }

            if (tensor.Name.StartsWith("categories", StringComparison.Ordinal))
            {
                FillTable(values, (int)tensor.Shape[1], CounterRandom.Hash(CounterRandom.Hash(seed, Stream), (ulong)i));
                continue;
            }

            var isOutput = tensor.Name == $"layers.{mlp.HiddenSizes.Count}.weight";
            // Of sparse features a row has so many inputs as it has features.
            var inputs = tensor.HasSparseRows ? Math.Max(1, mlp.Sparse.MeanNonZeros) : tensor.Shape[1];
            var bound = Math.Sqrt((isOutput ? 1.0 : 6.0) / inputs);
            var key = CounterRandom.Hash(CounterRandom.Hash(seed, Stream), (ulong)i);
            for (var j = 0; j < values.Length; j++)
                values[j] = (float)((2 * CounterRandom.Uniform(key, (ulong)j) - 1) * bound);
        }
    }

    // What is missing or unknown is nothing until rows have taught it.
    private static void FillTable(Span<float> values, int width, ulong key)
    {
        var bound = Math.Sqrt(3.0 / width);
        values[..width].Clear();
        for (var j = width; j < values.Length; j++)
            values[j] = (float)((2 * CounterRandom.Uniform(key, (ulong)j) - 1) * bound);
    }

    /// <summary>Running means 0, running variances 1.</summary>
    public static void FillBuffers(FlatLayout layout, Span<float> buffers)
    {
        foreach (var tensor in layout.Buffers)
            buffers.Slice((int)tensor.Start, (int)tensor.Length).Fill(tensor.Name.EndsWith("var", StringComparison.Ordinal) ? 1 : 0);
    }
}
