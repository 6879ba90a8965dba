using System.Buffers;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MLDistributed.Protocol.Onnx;

/// <summary>
/// A convolution as a product of matrices: the weights, output channels x (input channels, kernel), times what the kernel sees at each
/// place. That is gathered a panel of a few places at a time, which stays in the cache for all output channels (Goto and van de
/// Geijn 2008): ten times as fast as place by place where there are many channels.
/// </summary>
internal sealed class MatrixConvStep : OnnxStep
{
    private const int Lanes = 3; // vectors of places at once, with four channels as many as there are registers for
    private const int MaxMap = 4 << 20;

    /// <summary>Numbers of a panel's row.</summary>
    internal static readonly int Panel = Lanes * Vector<float>.Count;

    private readonly OnnxOperand _input;
    private readonly int _output;
    private readonly float[] _weights;
    private readonly float[] _bias;
    private readonly int _channels;
    private readonly int _area;
    private readonly int _kernel;
    private readonly int _places;
    private readonly int[] _map;
    private readonly bool[] _isRun;

    private MatrixConvStep(OnnxOperand input, OnnxOperand output, float[] weights, float[] bias, int kernel, int[] map)
    {
        var (channels, height, width) = ConvStep.Image(input);
        (_input, _output, _weights, _bias, _channels, _area, _kernel, _map) = (input, output.Slot, weights, bias, channels, height * width, kernel, map);
        _places = map.Length / kernel;
        _isRun = [.. Enumerable.Range(0, _kernel * Panels).Select(IsRun)];
    }

    private int Panels => (_places + Panel - 1) / Panel;

    /// <summary>Null: it is of a kind that is better computed place by place.</summary>
    public static OnnxStep? Of(OnnxOperand input, OnnxOperand output, OnnxWindow window, OnnxOperand weights, float[]? bias, int groups)
    {
        var ((_, height, width), (outputs, outHeight, outWidth)) = (ConvStep.Image(input), ConvStep.Image(output));
        var (kernel, places) = (window.Kernel2.Height * window.Kernel2.Width, outHeight * outWidth);
        if (groups != 1 || (long)places * kernel > MaxMap)
            return null;
        var map = Map(window, height, width, outHeight, outWidth);
        return NarrowConvStep.IsBetter(places, outputs) ? new NarrowConvStep(input, output, weights.Data!, bias ?? new float[outputs], kernel, map)
            : new MatrixConvStep(input, output, weights.Data!, bias ?? new float[outputs], kernel, map);
    }

    public override void Run(float[][] values)
    {
        var depth = _channels * _kernel;
        // Each channel is followed by a 0, which places outside of the image see.
        var padded = ArrayPool<float>.Shared.Rent(_channels * (_area + 1));
        var panel = ArrayPool<float>.Shared.Rent(depth * Panel);
        var from = values[_input.Slot];
        for (var c = 0; c < _channels; c++)
        {
            from.AsSpan(c * _area, _area).CopyTo(padded.AsSpan(c * (_area + 1)));
            padded[(c * (_area + 1)) + _area] = 0;
        }

        for (var first = 0; first < _places; first += Panel)
        {
            Gather(padded, panel, first);
            Multiply(panel, values[_output], first, depth);
        }

        ArrayPool<float>.Shared.Return(panel);
        ArrayPool<float>.Shared.Return(padded);
    }

    private static int[] Map(OnnxWindow window, int height, int width, int outHeight, int outWidth)
    {
        var ((kernelHeight, kernelWidth), (strideY, strideX), (dilationY, dilationX), (top, left)) = (window.Kernel2, window.Strides2, window.Dilations2, window.Before2);
        var map = new int[kernelHeight * kernelWidth * outHeight * outWidth];
        var at = 0;
        for (var ky = 0; ky < kernelHeight; ky++)
            for (var kx = 0; kx < kernelWidth; kx++)
                for (var y = 0; y < outHeight; y++)
                    for (var x = 0; x < outWidth; x++)
                    {
                        var (row, column) = ((y * strideY) - top + (ky * dilationY), (x * strideX) - left + (kx * dilationX));
                        map[at++] = row < 0 || row >= height || column < 0 || column >= width ? height * width : (row * width) + column;
                    }

        return map;
    }

    // Whether what a panel's places see at a place of the kernel lies side by side.
    private bool IsRun(int index)
    {
        var first = index % Panels * Panel;
        var places = _map.AsSpan((index / Panels * _places) + first, Math.Min(Panel, _places - first));
        for (var i = 0; i < places.Length; i++)
            if (places[i] != places[0] + i || places[i] == _area)
                return false;
        return true;
    }

    // For each channel and place of the kernel what a panel's places see.
    private void Gather(float[] padded, float[] panel, int first)
    {
        var count = Math.Min(Panel, _places - first);
        for (var (c, to) = (0, 0); c < _channels; c++)
        {
            var channel = padded.AsSpan(c * (_area + 1), _area + 1);
            for (var k = 0; k < _kernel; k++, to += Panel)
            {
                var places = _map.AsSpan((k * _places) + first, count);
                var row = panel.AsSpan(to, Panel);
                if (_isRun[(k * Panels) + (first / Panel)])
                    channel.Slice(places[0], count).CopyTo(row);
                else
                    for (var i = 0; i < places.Length; i++)
                        row[i] = channel[places[i]];
                row[count..].Clear();
            }
        }
    }

    private void Multiply(float[] panel, float[] to, int first, int depth)
    {
        var count = Math.Min(Panel, _places - first);
        Span<float> sums = stackalloc float[4 * Lanes * Vector<float>.Count];
        for (var m = 0; m < _bias.Length; m += 4)
        {
            // The last ones again, where there are not four.
            var start = Math.Max(0, Math.Min(m, _bias.Length - 4));
            if (_bias.Length >= 4)
                Four(_weights.AsSpan(start * depth, 4 * depth), panel, depth, sums);
            for (var r = 0; r < Math.Min(4, _bias.Length); r++)
            {
                if (_bias.Length < 4)
                    One(_weights.AsSpan(r * depth, depth), panel, sums.Slice(r * Panel, Panel));
                var bias = _bias[start + r];
                var row = to.AsSpan(((start + r) * _places) + first, count);
                for (var i = 0; i < row.Length; i++)
                    row[i] = sums[(r * Panel) + i] + bias;
            }
        }
    }

    /// <summary>Four rows of one matrix, times a panel of the other.</summary>
    internal static void Four(ReadOnlySpan<float> weights, ReadOnlySpan<float> panel, int depth, Span<float> sums)
    {
        Vector<float> a0 = default, a1 = default, a2 = default, b0 = default, b1 = default, b2 = default, c0 = default, c1 = default, c2 = default, d0 = default, d1 = default, d2 = default;
        ref var w = ref MemoryMarshal.GetReference(weights);
        ref var p = ref MemoryMarshal.GetReference(panel);
        nuint n = (nuint)depth, step = (nuint)Vector<float>.Count;
        for (nuint k = 0; k < n; k++)
        {
            var (x, y, z) = (Load(ref p, 0), Load(ref p, step), Load(ref p, 2 * step));
            p = ref Unsafe.Add(ref p, 3 * step);
            var v = new Vector<float>(Unsafe.Add(ref w, k));
            (a0, a1, a2) = (Vector.FusedMultiplyAdd(v, x, a0), Vector.FusedMultiplyAdd(v, y, a1), Vector.FusedMultiplyAdd(v, z, a2));
            v = new Vector<float>(Unsafe.Add(ref w, n + k));
            (b0, b1, b2) = (Vector.FusedMultiplyAdd(v, x, b0), Vector.FusedMultiplyAdd(v, y, b1), Vector.FusedMultiplyAdd(v, z, b2));
            v = new Vector<float>(Unsafe.Add(ref w, (2 * n) + k));
            (c0, c1, c2) = (Vector.FusedMultiplyAdd(v, x, c0), Vector.FusedMultiplyAdd(v, y, c1), Vector.FusedMultiplyAdd(v, z, c2));
            v = new Vector<float>(Unsafe.Add(ref w, (3 * n) + k));
            (d0, d1, d2) = (Vector.FusedMultiplyAdd(v, x, d0), Vector.FusedMultiplyAdd(v, y, d1), Vector.FusedMultiplyAdd(v, z, d2));
        }

        var to = MemoryMarshal.Cast<float, Vector<float>>(sums);
        (to[0], to[1], to[2], to[3], to[4], to[5]) = (a0, a1, a2, b0, b1, b2);
        (to[6], to[7], to[8], to[9], to[10], to[11]) = (c0, c1, c2, d0, d1, d2);
    }

    private static void One(ReadOnlySpan<float> weights, float[] panel, Span<float> sums)
    {
        sums.Clear();
        for (var k = 0; k < weights.Length; k++)
            Vectors.AddScaled(panel.AsSpan(k * Panel, Panel), weights[k], sums);
    }

    private static Vector<float> Load(ref float source, nuint offset) => Unsafe.ReadUnaligned<Vector<float>>(ref Unsafe.As<float, byte>(ref Unsafe.Add(ref source, offset)));
}
