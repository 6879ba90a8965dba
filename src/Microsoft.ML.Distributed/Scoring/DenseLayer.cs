using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Microsoft.ML.Distributed;

internal enum LayerActivation
{
    None,
    Relu,
    Gelu,
}

/// <summary>One Gemm with what follows it; batch normalisation is folded into weights and bias.</summary>
internal sealed class DenseLayer(float[] weights, float[] bias, int inputs)
{
    private float[] _weights = weights;
    private float[] _bias = bias;
    private (float[] Gain, float[] Bias, float Epsilon)? _layerNorm;

    public int Inputs { get; } = inputs;

    public int Outputs => _bias.Length;

    public LayerActivation Activation { get; set; }

    /// <summary>Folds gamma * (y - mean) / sqrt(variance + epsilon) + beta into the layer.</summary>
    public void FoldBatchNorm(float[] gamma, float[] beta, float[] mean, float[] variance, float epsilon)
    {
        (_weights, _bias) = ([.. _weights], [.. _bias]);
        for (var o = 0; o < Outputs; o++)
        {
            var gain = gamma[o] / Math.Sqrt((double)variance[o] + epsilon);
            foreach (ref var weight in _weights.AsSpan(o * Inputs, Inputs))
                weight = (float)(weight * gain);
            _bias[o] = (float)((((double)_bias[o] - mean[o]) * gain) + beta[o]);
        }
    }

    public void AddLayerNorm(float[] gain, float[] bias, float epsilon) => _layerNorm = (gain, bias, epsilon);

    public void Apply(ReadOnlySpan<float> input, Span<float> output)
    {
        Multiply(input, output);
        if (_layerNorm is (var gain, var bias, var epsilon))
            Normalize(output, gain, bias, epsilon);
        if (Activation == LayerActivation.Relu)
            TensorPrimitives.Max(output, 0f, output);
        else if (Activation == LayerActivation.Gelu)
            Gelu.Apply(output);
    }

    private static void Normalize(Span<float> values, float[] gain, float[] bias, float epsilon)
    {
        TensorPrimitives.Subtract(values, TensorPrimitives.Sum<float>(values) / values.Length, values);
        var variance = TensorPrimitives.SumOfSquares<float>(values) / values.Length;
        TensorPrimitives.Multiply(values, 1 / MathF.Sqrt(variance + epsilon), values);
        TensorPrimitives.MultiplyAdd(values, gain, bias, values);
    }

    // Four rows at a time: each piece of the input is loaded once for four dot products.
    private void Multiply(ReadOnlySpan<float> input, Span<float> output)
    {
        var size = Inputs;
        var row = 0;
        for (; row + 4 <= output.Length; row += 4)
        {
            var weights = _weights.AsSpan(row * size, 4 * size);
            Dot4(input, weights, output.Slice(row, 4));
        }

        for (; row < output.Length; row++)
            output[row] = TensorPrimitives.Dot(input, _weights.AsSpan(row * size, size));
        TensorPrimitives.Add(output, _bias, output);
    }

    private static void Dot4(ReadOnlySpan<float> x, ReadOnlySpan<float> weights, Span<float> result)
    {
        var size = x.Length;
        ref var x0 = ref MemoryMarshal.GetReference(x);
        ref var w0 = ref MemoryMarshal.GetReference(weights);
        Vector<float> a = default, b = default, c = default, d = default;
        nuint i = 0, n = (nuint)size, step = (nuint)Vector<float>.Count;
        for (; i + step <= n; i += step)
        {
            var v = Load(ref x0, i);
            a = Vector.FusedMultiplyAdd(v, Load(ref w0, i), a);
            b = Vector.FusedMultiplyAdd(v, Load(ref w0, n + i), b);
            c = Vector.FusedMultiplyAdd(v, Load(ref w0, (2 * n) + i), c);
            d = Vector.FusedMultiplyAdd(v, Load(ref w0, (3 * n) + i), d);
        }

        (result[0], result[1], result[2], result[3]) = (Vector.Sum(a), Vector.Sum(b), Vector.Sum(c), Vector.Sum(d));
        for (var j = (int)i; j < size; j++)
            for (var k = 0; k < 4; k++)
                result[k] += x[j] * weights[(k * size) + j];
    }

    private static Vector<float> Load(ref float source, nuint offset) => Unsafe.ReadUnaligned<Vector<float>>(ref Unsafe.As<float, byte>(ref Unsafe.Add(ref source, offset)));
}
