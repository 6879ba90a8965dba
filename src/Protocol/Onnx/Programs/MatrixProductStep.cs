using System.Buffers;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Products of the last two dimensions of two values, for each place of the dimensions before: attention's scores, and what they weigh.</summary>
/// <param name="left">Matrices of rows x inner.</param>
/// <param name="leftPlaces">For each product where its left matrix begins.</param>
/// <param name="right">Matrices of inner x columns.</param>
/// <param name="rightPlaces">For each product where its right matrix begins.</param>
/// <param name="output">Where the products go, one behind the other.</param>
internal sealed class MatrixProductStep(OnnxOperand left, int[] leftPlaces, OnnxOperand right, int[] rightPlaces, OnnxOperand output) : OnnxStep
{
    private readonly int _inner = left.Dims[^1];
    private readonly int _rows = left.Dims[^2];
    private readonly int _columns = right.Dims[^1];
    private readonly float[] _noBias = new float[right.Dims[^1]];

    public override void Run(float[][] values)
    {
        var (a, b, to) = (left.In(values), right.In(values), values[output.Slot]);
        var transposed = ArrayPool<float>.Shared.Rent(_inner * _columns);
        for (var i = 0; i < leftPlaces.Length; i++)
        {
            // Again only where it is another one.
            if (i == 0 || rightPlaces[i] != rightPlaces[i - 1])
                MatrixMatrix.Transpose(b.AsSpan(rightPlaces[i], _inner * _columns), transposed, _columns);
            MatrixMatrix.Multiply(transposed.AsSpan(0, _inner * _columns), _noBias, a.AsSpan(leftPlaces[i], _rows * _inner), to.AsSpan(i * _rows * _columns, _rows * _columns), _inner);
        }

        ArrayPool<float>.Shared.Return(transposed);
    }
}
