using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MLDistributed.Protocol.Onnx;

/// <summary>A matrix times several vectors: each piece of the matrix is loaded once for two of them, and of it four rows at a time.</summary>
public static class MatrixMatrix
{
    /// <summary>Computes for each vector the products of each row with it, plus the row's bias.</summary>
    /// <param name="matrix">Rows x columns.</param>
    /// <param name="bias">As many as there are rows.</param>
    /// <param name="vectors">Vectors of as many numbers as there are columns, one behind the other.</param>
    /// <param name="output">For each vector as many numbers as there are rows.</param>
    /// <param name="columns">The columns.</param>
    public static void Multiply(ReadOnlySpan<float> matrix, ReadOnlySpan<float> bias, ReadOnlySpan<float> vectors, Span<float> output, int columns)
    {
        var rows = bias.Length;
        var count = vectors.Length / columns;
        if (matrix.Length != rows * columns || output.Length != count * rows)
            throw new ArgumentException($"A matrix of {matrix.Length} numbers with {rows} biases does not make {output.Length} numbers of {vectors.Length}, expected {rows} x {columns} of them.", nameof(matrix));
        var row = 0;
        for (; row + 4 <= rows; row += 4)
        {
            var part = matrix.Slice(row * columns, 4 * columns);
            var vector = 0;
            for (; vector + 2 <= count; vector += 2)
                Dot4x2(part, vectors.Slice(vector * columns, 2 * columns), bias.Slice(row, 4), output[((vector * rows) + row)..], rows, columns);
            if (vector < count)
                Rest(part, vectors.Slice(vector * columns, columns), bias.Slice(row, 4), output.Slice((vector * rows) + row, 4));
        }

        for (; row < rows; row++)
            for (var vector = 0; vector < count; vector++)
                output[(vector * rows) + row] = Vectors.Dot(matrix.Slice(row * columns, columns), vectors.Slice(vector * columns, columns)) + bias[row];
    }

    /// <summary>Writes a matrix with rows and columns exchanged.</summary>
    /// <param name="matrix">Rows x columns.</param>
    /// <param name="to">Columns x rows, as many numbers at least.</param>
    /// <param name="columns">The columns of <paramref name="matrix"/>.</param>
    public static void Transpose(ReadOnlySpan<float> matrix, Span<float> to, int columns)
    {
        var rows = matrix.Length / columns;
        for (var row = 0; row < rows; row++)
            for (var column = 0; column < columns; column++)
                to[(column * rows) + row] = matrix[(row * columns) + column];
    }

    private static void Rest(ReadOnlySpan<float> rows, ReadOnlySpan<float> vector, ReadOnlySpan<float> bias, Span<float> output)
    {
        MatrixVector.Multiply(rows, vector, output);
        for (var i = 0; i < output.Length; i++)
            output[i] += bias[i];
    }

    private static void Dot4x2(ReadOnlySpan<float> weights, ReadOnlySpan<float> vectors, ReadOnlySpan<float> bias, Span<float> output, int stride, int size)
    {
        ref var w0 = ref MemoryMarshal.GetReference(weights);
        ref var x0 = ref MemoryMarshal.GetReference(vectors);
        Vector<float> a0 = default, b0 = default, c0 = default, d0 = default, a1 = default, b1 = default, c1 = default, d1 = default;
        nuint i = 0, n = (nuint)size, step = (nuint)Vector<float>.Count;
        for (; i + step <= n; i += step)
        {
            var (x, y) = (Load(ref x0, i), Load(ref x0, n + i));
            var w = Load(ref w0, i);
            (a0, a1) = (Vector.FusedMultiplyAdd(x, w, a0), Vector.FusedMultiplyAdd(y, w, a1));
            w = Load(ref w0, n + i);
            (b0, b1) = (Vector.FusedMultiplyAdd(x, w, b0), Vector.FusedMultiplyAdd(y, w, b1));
            w = Load(ref w0, (2 * n) + i);
            (c0, c1) = (Vector.FusedMultiplyAdd(x, w, c0), Vector.FusedMultiplyAdd(y, w, c1));
            w = Load(ref w0, (3 * n) + i);
            (d0, d1) = (Vector.FusedMultiplyAdd(x, w, d0), Vector.FusedMultiplyAdd(y, w, d1));
        }

        var first = output[..4];
        var second = output.Slice(stride, 4);
        (first[0], first[1], first[2], first[3]) = (Vector.Sum(a0), Vector.Sum(b0), Vector.Sum(c0), Vector.Sum(d0));
        (second[0], second[1], second[2], second[3]) = (Vector.Sum(a1), Vector.Sum(b1), Vector.Sum(c1), Vector.Sum(d1));
        for (var k = 0; k < 4; k++)
        {
            for (var j = (int)i; j < size; j++)
            {
                first[k] += vectors[j] * weights[(k * size) + j];
                second[k] += vectors[size + j] * weights[(k * size) + j];
            }

            (first[k], second[k]) = (first[k] + bias[k], second[k] + bias[k]);
        }
    }

    private static Vector<float> Load(ref float source, nuint offset) => Unsafe.ReadUnaligned<Vector<float>>(ref Unsafe.As<float, byte>(ref Unsafe.Add(ref source, offset)));
}
