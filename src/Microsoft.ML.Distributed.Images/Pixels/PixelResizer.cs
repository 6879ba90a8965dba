using Microsoft.ML.Transforms.Image;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Makes planes of one size of images of any: bilinear, over as many pixels as one of the new ones covers (a triangle filter, as
/// Pillow's and so torchvision's). Integers of the result are a function of the image alone. For one thread at a time.
/// </summary>
internal sealed class PixelResizer(PixelSize size)
{
    private const int BytesPerPixel = 4;
    private (int Height, int Width) _known;
    private Taps[] _rows = [];
    private Taps[] _columns = [];
    private float[] _narrow = [];

    /// <summary>Fills the planes with an image of four bytes a pixel.</summary>
    /// <param name="pixels">Row after row, red, green and blue first.</param>
    /// <param name="height">Of the image.</param>
    /// <param name="width">Of the image.</param>
    /// <param name="isBlueFirst">Whether blue comes first.</param>
    /// <param name="planes">As many bytes as the size has.</param>
    public void Resize(ReadOnlySpan<byte> pixels, int height, int width, bool isBlueFirst, Span<byte> planes)
    {
        if (_known != (height, width))
            Plan(height, width);
        var channels = size.Channels;
        var row = width * BytesPerPixel;
        _narrow = _narrow.Length >= height * size.Width * channels ? _narrow : new float[height * size.Width * channels];
        for (var y = 0; y < height; y++)
            Narrow(pixels.Slice(y * row, row), isBlueFirst, _narrow.AsSpan(y * size.Width * channels, size.Width * channels));
        for (var y = 0; y < size.Height; y++)
            for (var x = 0; x < size.Width; x++)
                for (var c = 0; c < channels; c++)
                {
                    var sum = 0f;
                    var taps = _rows[y];
                    for (var t = 0; t < taps.Weights.Length; t++)
                        sum += taps.Weights[t] * _narrow[((((taps.First + t) * size.Width) + x) * channels) + c];
                    planes[(((c * size.Height) + y) * size.Width) + x] = (byte)Math.Clamp(sum + 0.5f, 0, 255);
                }
    }

    private void Narrow(ReadOnlySpan<byte> row, bool isBlueFirst, Span<float> to)
    {
        var (red, blue) = isBlueFirst ? (2, 0) : (0, 2);
        for (var x = 0; x < size.Width; x++)
        {
            var (r, g, b) = (0f, 0f, 0f);
            var taps = _columns[x];
            for (var t = 0; t < taps.Weights.Length; t++)
            {
                var at = (taps.First + t) * BytesPerPixel;
                r += taps.Weights[t] * row[at + red];
                g += taps.Weights[t] * row[at + 1];
                b += taps.Weights[t] * row[at + blue];
            }

            if (size.Channels == 1)
                to[x] = (0.299f * r) + (0.587f * g) + (0.114f * b); // Rec. 601
            else
                (to[3 * x], to[(3 * x) + 1], to[(3 * x) + 2]) = (r, g, b);
        }
    }

    private void Plan(int height, int width)
    {
        var (vertical, horizontal) = ((double)height / size.Height, (double)width / size.Width);
        // Of both factors one, where the shape is kept.
        var scale = size.Resizing switch
        {
            ImageResizingEstimator.ResizingKind.IsoCrop => Math.Min(vertical, horizontal),
            ImageResizingEstimator.ResizingKind.IsoPad => Math.Max(vertical, horizontal),
            _ => 0,
        };
        _rows = Taps.Of(height, size.Height, scale == 0 ? vertical : scale);
        _columns = Taps.Of(width, size.Width, scale == 0 ? horizontal : scale);
        _known = (height, width);
    }

    /// <summary>The pixels that a new one is made of, along one side.</summary>
    private readonly record struct Taps(int First, float[] Weights)
    {
        /// <param name="from">Pixels of the image.</param>
        /// <param name="to">New ones.</param>
        /// <param name="scale">Pixels for each new one; what is around the image's middle is taken, and what is outside is black.</param>
        public static Taps[] Of(int from, int to, double scale)
        {
            var support = Math.Max(scale, 1);
            var taps = new Taps[to];
            for (var i = 0; i < to; i++)
            {
                var center = (from / 2.0) + ((i + 0.5 - (to / 2.0)) * scale);
                if (center < 0 || center > from)
                {
                    taps[i] = new Taps(0, []);
                    continue;
                }

                var (first, end) = (Math.Max(0, (int)Math.Floor(center - support)), Math.Min(from, (int)Math.Ceiling(center + support)));
                var weights = Enumerable.Range(first, end - first).Select(p => Math.Max(0, 1 - (Math.Abs(p + 0.5 - center) / support))).ToArray();
                var sum = weights.Sum();
                taps[i] = new Taps(first, Array.ConvertAll(weights, w => (float)(w / sum)));
            }

            return taps;
        }
    }
}
