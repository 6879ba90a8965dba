using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MLDistributed.Protocol.Onnx;

/// <summary>A matrix times a vector, which is most of what scoring costs.</summary>
public static class MatrixVector
{
    /// <summary>Computes the products of each row with a vector. Four rows at a time: each piece of the vector is loaded once for four of them.</summary>
    /// <param name="matrix">Rows x columns.</param>
    /// <param name="vector">As long as there are columns.</param>
    /// <param name="output">As long as there are rows.</param>
    public static void Multiply(ReadOnlySpan<float> matrix, ReadOnlySpan<float> vector, Span<float> output)
    {
        var size = vector.Length;
        var row = 0;
        for (; row + 4 <= output.Length; row += 4)
            Dot4(vector, matrix.Slice(row * size, 4 * size), output.Slice(row, 4));
        for (; row < output.Length; row++)
            output[row] = Vectors.Dot(vector, matrix.Slice(row * size, size));
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
