using System.Numerics;
using System.Runtime.InteropServices;

namespace MLDistributed.Protocol.Onnx;

/// <summary>The exact GELU, x * Phi(x), in place.</summary>
public static class Gelu
{
    // Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: |error of erf| below 1.5e-7.
    private const float P = 0.3275911f, A1 = 0.254829592f, A2 = -0.284496736f, A3 = 1.421413741f, A4 = -1.453152027f, A5 = 1.061405429f;

    /// <summary>Applies it to each value.</summary>
    public static void Apply(Span<float> values)
    {
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(values);
        for (var i = 0; i < vectors.Length; i++)
            vectors[i] = Apply(vectors[i]);
        var rest = values[(vectors.Length * Vector<float>.Count)..];
        if (rest.IsEmpty)
            return;
        Span<float> padded = stackalloc float[Vector<float>.Count];
        padded.Clear();
        rest.CopyTo(padded);
        Apply(new Vector<float>(padded)).CopyTo(padded);
        padded[..rest.Length].CopyTo(rest);
    }

    // x * Phi(x) = relu(x) - |x| * q with q = erfc(|x| / sqrt 2) / 2: nothing cancels in the tail.
    private static Vector<float> Apply(Vector<float> x)
    {
        var size = Vector.Abs(x);
        var z = size * new Vector<float>(0.70710678118f);
        var t = Vector<float>.One / (Vector<float>.One + (z * P));
        var polynomial = ((((((((t * A5) + new Vector<float>(A4)) * t) + new Vector<float>(A3)) * t) + new Vector<float>(A2)) * t) + new Vector<float>(A1)) * t;
        return Vector.Max(x, Vector<float>.Zero) - (size * polynomial * Vector.Exp(-z * z) * 0.5f);
    }
}
