using System.Numerics.Tensors;

namespace Microsoft.ML.Distributed;

/// <summary>The first layer of a network for sparse features: its cost is that of the features which are not 0.</summary>
/// <param name="weights">inputs x outputs; written over where there is a scale, which is folded into them.</param>
/// <param name="bias">outputs</param>
/// <param name="scale">What each feature is multiplied by; null: nothing.</param>
internal sealed class SparseLayer(float[] weights, float[] bias, float[]? scale) : DenseLayer(Scaled(weights, scale), bias, weights.Length / bias.Length)
{
    /// <summary>Applies it to a row of which some features are named, by slot.</summary>
    public void Apply(ReadOnlySpan<int> slots, ReadOnlySpan<float> features, Span<float> output)
    {
        output.Clear();
        for (var i = 0; i < slots.Length; i++)
            Add(slots[i], features[i], output);
        Follow(output);
    }

    protected override int PlaceOf(int input, int output) => (input * Outputs) + output;

    protected override void Multiply(ReadOnlySpan<float> input, Span<float> output)
    {
        output.Clear();
        for (var i = 0; i < input.Length; i++)
            Add(i, input[i], output);
    }

    // A missing feature (NaN) is 0; an infinite one makes the outputs so, as in the graph.
    private void Add(int slot, float feature, Span<float> output)
    {
        if (feature is not 0 && !float.IsNaN(feature))
            TensorPrimitives.MultiplyAdd(Weights.AsSpan(slot * Outputs, Outputs), feature, output, output);
    }

    private static float[] Scaled(float[] weights, float[]? scale)
    {
        if (scale is null)
            return weights;
        var outputs = weights.Length / scale.Length;
        for (var i = 0; i < scale.Length; i++)
            TensorPrimitives.Multiply(weights.AsSpan(i * outputs, outputs), scale[i], weights.AsSpan(i * outputs, outputs));
        return weights;
    }
}
