using System.Numerics;
using System.Runtime.InteropServices;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Rows of a matrix times a vector, for each vector of the last dimension.</summary>
internal sealed class LinearStep(int input, int output, float[] weights, float[]? bias, int inputs, int outputs) : OnnxStep
{
    private readonly float[] _bias = bias ?? new float[outputs];

    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        if (from.Length > inputs)
        {
            MatrixMatrix.Multiply(weights, _bias, from, to, inputs);
            return;
        }

        MatrixVector.Multiply(weights, from, to);
        for (var o = 0; o < _bias.Length; o++)
            to[o] += _bias[o];
    }
}

/// <summary>
/// A convolution, place by place of the kernel: each adds a row of the input, times one weight, to a row of the output. No
/// copy of the input is made. Transposed, each place of the input adds the kernel, times its number, around a place of the output.
/// </summary>
internal sealed class ConvStep(OnnxOperand input, OnnxOperand output, OnnxWindow window, OnnxOperand weights, float[]? bias, int groups, bool isTransposed = false) : OnnxStep
{
    private readonly (int Channels, int Height, int Width) _in = Image(input);
    private readonly (int Channels, int Height, int Width) _out = Image(output);

    public override void Run(float[][] values)
    {
        var (from, to) = (values[input.Slot], values[output.Slot]);
        var (perIn, perOut, seen, area) = (_in.Channels / groups, _out.Channels / groups, _in.Height * _in.Width, _out.Height * _out.Width);
        var kernel = window.Kernel2.Height * window.Kernel2.Width;
        for (var m = 0; m < _out.Channels; m++)
        {
            var plane = to.AsSpan(m * area, area);
            plane.Fill(bias is null ? 0 : bias[m]);
            for (var c = 0; c < perIn; c++)
            {
                var channel = (m / perOut * perIn) + c;
                var own = isTransposed ? (channel * perOut) + (m % perOut) : (m * perIn) + c;
                Add(from.AsSpan(channel * seen, seen), weights.Data.AsSpan(own * kernel, kernel), plane);
            }
        }
    }

    internal static (int Channels, int Height, int Width) Image(OnnxOperand value) => value.Dims is [var c, var h, var w] ? (c, h, w) : (value.Dims[0], 1, value.Dims[1]);

    // Places are where the kernel is put, and seen is what it lies on: the output's and the input, or transposed the input's and the output.
    private void Add(ReadOnlySpan<float> from, ReadOnlySpan<float> kernel, Span<float> to)
    {
        var (places, seen) = isTransposed ? (_in, _out) : (_out, _in);
        var ((kernelHeight, kernelWidth), (strideY, strideX), (dilationY, dilationX), (top, left)) = (window.Kernel2, window.Strides2, window.Dilations2, window.Before2);
        for (var ky = 0; ky < kernelHeight; ky++)
        {
            for (var kx = 0; kx < kernelWidth; kx++)
            {
                var weight = kernel[(ky * kernelWidth) + kx];
                var offset = (kx * dilationX) - left;
                // Places at which it lies on something.
                var first = offset >= 0 ? 0 : (-offset + strideX - 1) / strideX;
                var end = offset >= seen.Width ? 0 : Math.Min(places.Width, ((seen.Width - 1 - offset) / strideX) + 1);
                if (first >= end)
                    continue;
                for (var y = 0; y < places.Height; y++)
                {
                    var row = (y * strideY) - top + (ky * dilationY);
                    if (row < 0 || row >= seen.Height)
                        continue;
                    var (place, under) = ((y * places.Width) + first, (row * seen.Width) + (first * strideX) + offset);
                    if (strideX == 1)
                        Vectors.AddScaled(from.Slice(isTransposed ? place : under, end - first), weight, to.Slice(isTransposed ? under : place, end - first));
                    else if (isTransposed)
                        for (var x = 0; x < end - first; x++)
                            to[under + (x * strideX)] += weight * from[place + x];
                    else
                        for (var x = 0; x < end - first; x++)
                            to[place + x] += weight * from[under + (x * strideX)];
                }
            }
        }
    }
}

/// <summary>The largest, or the mean, of what a window covers of each channel.</summary>
internal sealed class PoolStep(OnnxOperand input, OnnxOperand output, OnnxWindow window, bool isMax, bool countsPadding) : OnnxStep
{
    private readonly (int Channels, int Height, int Width) _in = ConvStep.Image(input);
    private readonly (int Channels, int Height, int Width) _out = ConvStep.Image(output);

    public override void Run(float[][] values)
    {
        var (from, to) = (values[input.Slot], values[output.Slot]);
        for (var (c, i) = (0, 0); c < _out.Channels; c++)
            for (var y = 0; y < _out.Height; y++)
                for (var x = 0; x < _out.Width; x++, i++)
                    to[i] = At(from.AsSpan(c * _in.Height * _in.Width, _in.Height * _in.Width), y, x);
    }

    private float At(ReadOnlySpan<float> image, int y, int x)
    {
        var ((kernelHeight, kernelWidth), (strideY, strideX), (dilationY, dilationX), (top, left), (bottom, right)) = (window.Kernel2, window.Strides2, window.Dilations2, window.Before2, window.Behind2);
        var (largest, sum, count, covered) = (float.NegativeInfinity, 0f, 0, 0);
        for (var ky = 0; ky < kernelHeight; ky++)
        {
            var row = (y * strideY) - top + (ky * dilationY);
            for (var kx = 0; kx < kernelWidth; kx++)
            {
                var column = (x * strideX) - left + (kx * dilationX);
                covered += row < _in.Height + bottom && column < _in.Width + right ? 1 : 0;
                if (row < 0 || row >= _in.Height || column < 0 || column >= _in.Width)
                    continue;
                var value = image[(row * _in.Width) + column];
                (largest, sum, count) = (MathF.Max(largest, value), sum + value, count + 1);
            }
        }

        return isMax ? largest : sum / Math.Max(1, countsPadding ? covered : count);
    }
}

/// <summary>Sums and products of vectors.</summary>
public static class Vectors
{
    /// <summary>The sum of products.</summary>
    public static float Dot(ReadOnlySpan<float> left, ReadOnlySpan<float> right)
    {
        var a = MemoryMarshal.Cast<float, Vector<float>>(left);
        var b = MemoryMarshal.Cast<float, Vector<float>>(right);
        var (even, odd) = (Vector<float>.Zero, Vector<float>.Zero);
        var i = 0;
        for (; i + 1 < a.Length; i += 2)
            (even, odd) = (Vector.FusedMultiplyAdd(a[i], b[i], even), Vector.FusedMultiplyAdd(a[i + 1], b[i + 1], odd));
        if (i < a.Length)
            even = Vector.FusedMultiplyAdd(a[i], b[i], even);
        var sum = Vector.Sum(even + odd);
        for (var j = a.Length * Vector<float>.Count; j < left.Length; j++)
            sum += left[j] * right[j];
        return sum;
    }

    /// <summary>Adds numbers times a factor to as many others.</summary>
    public static void AddScaled(ReadOnlySpan<float> from, float factor, Span<float> to)
    {
        var a = MemoryMarshal.Cast<float, Vector<float>>(from);
        var b = MemoryMarshal.Cast<float, Vector<float>>(to);
        var factors = new Vector<float>(factor);
        for (var i = 0; i < a.Length; i++)
            b[i] = Vector.FusedMultiplyAdd(a[i], factors, b[i]);
        for (var j = a.Length * Vector<float>.Count; j < from.Length; j++)
            to[j] += factor * from[j];
    }
}
