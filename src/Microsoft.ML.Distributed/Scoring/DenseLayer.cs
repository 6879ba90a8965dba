using System.Numerics.Tensors;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

internal enum LayerActivation
{
    None,
    Relu,
    Gelu,
}

/// <summary>One Gemm with what follows it; batch normalisation is folded into weights and bias.</summary>
internal class DenseLayer
{
    private float[] _bias;
    private (float[] Gain, float[] Bias, float Epsilon)? _layerNorm;

    public DenseLayer(float[] weights, float[] bias, int inputs) => (Weights, _bias, Inputs) = (weights, bias, inputs);

    /// <summary>Another with its first inputs alone.</summary>
    protected DenseLayer(DenseLayer other, int inputs)
    {
        (_bias, _layerNorm, Activation, Inputs) = (other._bias, other._layerNorm, other.Activation, inputs);
        Weights = new float[Outputs * inputs];
        for (var output = 0; output < Outputs; output++)
            other.Weights.AsSpan(output * other.Inputs, inputs).CopyTo(Weights.AsSpan(output * inputs));
    }

    public int Inputs { get; }

    public int Outputs => _bias.Length;

    protected float[] Weights { get; private set; }

    public LayerActivation Activation { get; set; }

    /// <summary>Folds gamma * (y - mean) / sqrt(variance + epsilon) + beta into the layer.</summary>
    public void FoldBatchNorm(float[] gamma, float[] beta, float[] mean, float[] variance, float epsilon)
    {
        (Weights, _bias) = ([.. Weights], [.. _bias]);
        for (var o = 0; o < Outputs; o++)
        {
            var gain = gamma[o] / Math.Sqrt((double)variance[o] + epsilon);
            for (var i = 0; i < Inputs; i++)
                Weights[PlaceOf(i, o)] = (float)(Weights[PlaceOf(i, o)] * gain);
            _bias[o] = (float)((((double)_bias[o] - mean[o]) * gain) + beta[o]);
        }
    }

    public void AddLayerNorm(float[] gain, float[] bias, float epsilon) => _layerNorm = (gain, bias, epsilon);

    public void Apply(ReadOnlySpan<float> input, Span<float> output)
    {
        Multiply(input, output);
        Follow(output);
    }

    public float WeightOf(int input, int output) => Weights[PlaceOf(input, output)];

    /// <summary>Where the weight of an input for an output is.</summary>
    protected virtual int PlaceOf(int input, int output) => (output * Inputs) + input;

    /// <summary>Weights times input.</summary>
    protected virtual void Multiply(ReadOnlySpan<float> input, Span<float> output) => MatrixVector.Multiply(Weights, input, output);

    /// <summary>What follows the product.</summary>
    protected void Follow(Span<float> output)
    {
        TensorPrimitives.Add(output, _bias, output);
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
}
