using System.Buffers;

namespace MLDistributed.Protocol.Onnx;

/// <summary>
/// The convolution of <see cref="MatrixConvStep"/> with the two matrices in each other's place, for many output channels over few places:
/// those of the last layers of an image network would fill a part of a panel alone. Here a panel is of output channels, made once.
/// </summary>
internal sealed class NarrowConvStep : OnnxStep
{
    private const int Rows = 4;
    private const int MostPlaces = 64; // what they see is gathered whole
    private readonly OnnxOperand _input;
    private readonly int _output;
    private readonly float[] _panels;
    private readonly float[] _bias;
    private readonly int _channels;
    private readonly int _area;
    private readonly int _kernel;
    private readonly int _places;
    private readonly int[] _map;

    /// <param name="input">The image.</param>
    /// <param name="output">Its convolution.</param>
    /// <param name="weights">Output channels x depth.</param>
    /// <param name="bias">One an output channel.</param>
    /// <param name="kernel">Places of the kernel.</param>
    /// <param name="map">For each place of the kernel what each place of the output sees; the image's area where that is outside.</param>
    public NarrowConvStep(OnnxOperand input, OnnxOperand output, float[] weights, float[] bias, int kernel, int[] map)
    {
        var (channels, height, width) = ConvStep.Image(input);
        (_input, _output, _bias, _channels, _area, _kernel, _map) = (input, output.Slot, bias, channels, height * width, kernel, map);
        _places = map.Length / kernel;
        var depth = channels * kernel;
        _panels = new float[Filled(bias.Length, MatrixConvStep.Panel) * depth];
        for (var o = 0; o < bias.Length; o++)
            for (var (k, to) = (0, (o / MatrixConvStep.Panel * MatrixConvStep.Panel * depth) + (o % MatrixConvStep.Panel)); k < depth; k++, to += MatrixConvStep.Panel)
                _panels[to] = weights[(o * depth) + k];
    }

    /// <summary>Whether it multiplies fewer numbers than the other, and its panels take no more than twice the weights.</summary>
    public static bool IsBetter(int places, int outputs) =>
        places <= MostPlaces && Filled(outputs, MatrixConvStep.Panel) <= 2 * outputs && (long)Filled(places, Rows) * Filled(outputs, MatrixConvStep.Panel) < (long)Filled(places, MatrixConvStep.Panel) * Filled(outputs, Rows);

    public override void Run(float[][] values)
    {
        var depth = _channels * _kernel;
        var seen = ArrayPool<float>.Shared.Rent(Filled(_places, Rows) * depth);
        Gather(values[_input.Slot], seen.AsSpan(0, Filled(_places, Rows) * depth), depth);
        var to = values[_output];
        Span<float> sums = stackalloc float[Rows * MatrixConvStep.Panel];
        for (var first = 0; first < _bias.Length; first += MatrixConvStep.Panel)
        {
            var panel = _panels.AsSpan(first * depth, MatrixConvStep.Panel * depth);
            for (var place = 0; place < _places; place += Rows)
            {
                MatrixConvStep.Four(seen.AsSpan(place * depth, Rows * depth), panel, depth, sums);
                for (var r = 0; r < Math.Min(Rows, _places - place); r++)
                    for (var o = 0; o < Math.Min(MatrixConvStep.Panel, _bias.Length - first); o++)
                        to[((first + o) * _places) + place + r] = sums[(r * MatrixConvStep.Panel) + o] + _bias[first + o];
            }
        }

        ArrayPool<float>.Shared.Return(seen);
    }

    private static int Filled(int count, int unit) => (count + unit - 1) / unit * unit;

    // For each place what it sees of each channel. What is behind the last place counts nowhere.
    private void Gather(ReadOnlySpan<float> image, Span<float> seen, int depth)
    {
        seen[(_places * depth)..].Clear();
        for (var c = 0; c < _channels; c++)
        {
            var channel = image.Slice(c * _area, _area);
            for (var k = 0; k < _kernel; k++)
                for (var p = 0; p < _places; p++)
                {
                    var at = _map[(k * _places) + p];
                    seen[(p * depth) + (c * _kernel) + k] = at < _area ? channel[at] : 0;
                }
        }
    }
}
