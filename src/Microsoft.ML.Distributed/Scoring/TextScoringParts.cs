using System.Numerics.Tensors;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>A linear layer of <see cref="TextScorer"/>, found by its name once.</summary>
internal sealed class TextScoringLinear(IReadOnlyDictionary<string, float[]> tensors, string name)
{
    private readonly float[] _weight = tensors[$"{name}.weight"];
    private readonly float[] _bias = tensors[$"{name}.bias"];

    /// <summary>Of each token.</summary>
    public void Apply(ReadOnlySpan<float> from, Span<float> to) => MatrixMatrix.Multiply(_weight, _bias, from, to, _weight.Length / _bias.Length);
}

/// <summary>A layer normalisation of <see cref="TextScorer"/>.</summary>
internal sealed class TextScoringNorm(IReadOnlyDictionary<string, float[]> tensors, string name, double epsilon)
{
    private readonly float[] _gain = tensors[$"{name}.weight"];
    private readonly float[] _bias = tensors[$"{name}.bias"];

    /// <summary>Of each token; in place where both are the same.</summary>
    public void Apply(ReadOnlySpan<float> from, Span<float> to)
    {
        for (var at = 0; at < from.Length; at += _gain.Length)
        {
            var token = from.Slice(at, _gain.Length);
            var result = to.Slice(at, _gain.Length);
            TensorPrimitives.Subtract(token, TensorPrimitives.Sum(token) / _gain.Length, result);
            var variance = TensorPrimitives.SumOfSquares<float>(result) / _gain.Length;
            TensorPrimitives.Multiply(result, (float)(1 / Math.Sqrt(variance + epsilon)), result);
            TensorPrimitives.MultiplyAdd(result, _gain, _bias, result);
        }
    }
}
