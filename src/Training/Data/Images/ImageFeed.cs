using System.Numerics;
using System.Runtime.CompilerServices;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Data;

/// <summary>Images of a data set as a network takes them: changed as <see cref="ImageChange"/> says where they are trained on, and normalised by channel.</summary>
internal sealed unsafe class ImageFeed
{
    private readonly ImageSpec _image;
    private readonly DatasetFile _file;
    private readonly ulong _seed;
    private readonly int _area;
    private readonly float[] _other;

    public ImageFeed(ImageSpec image, DatasetFile file, ulong seed)
    {
        (_image, _file, _seed, _area) = (image, file, seed, image.Height * image.Width);
        _other = Mixes ? new float[file.FeatureSize] : [];
    }

    /// <summary>Whether training images are mixtures of two.</summary>
    public bool Mixes => _image.Augmentation is { Mixup: > 0 };

    /// <summary>The row that another is mixed with, and what it has of itself.</summary>
    public (long Row, double Share) PartnerOf(long row, int epoch, BatchRequest request) => PartnerOf(ImageChange.Of(_image, _seed, epoch, row), request);

    /// <summary>Writes a row's pixels.</summary>
    public void Fill(long row, BatchRequest request, float* to)
    {
        if (request.Epoch is not { } epoch || _image.Augmentation is null)
        {
            BatchFeed.Widen(_file.Bytes(row), to, _file.FeatureSize);
            Normalize(to);
            return;
        }

        var change = ImageChange.Of(_image, _seed, epoch, row);
        Fill(row, change, to);
        if (!Mixes)
            return;
        var (other, share) = PartnerOf(change, request);
        fixed (float* second = _other)
        {
            Fill(other, ImageChange.Of(_image, _seed, epoch, other), second);
            for (var i = 0; i < _file.FeatureSize; i++)
                to[i] = (float)((share * to[i]) + ((1 - share) * second[i]));
        }
    }

    private static (long Row, double Share) PartnerOf(ImageChange change, BatchRequest request) =>
        (request.RowAt(Math.Min((long)(change.Partner * request.RowCount), request.RowCount - 1)), change.Share);

    private void Fill(long row, ImageChange change, float* to)
    {
        for (var c = 0; c < _image.Channels; c++)
        {
            var from = _file.Bytes(row) + ((long)c * _area);
            var plane = to + ((long)c * _area);
            if (change.IsShift(_image))
                Shift(from, plane, (int)change.Top, (int)change.Left, _image.Mean[c]);
            else
                Resample(from, plane, change, _image.Mean[c]);
            if (change.IsFlipped)
                for (var y = 0; y < _image.Height; y++)
                    new Span<float>(plane + (y * _image.Width), _image.Width).Reverse();
        }

        if (change.IsColored)
            Color(change, to);
        Normalize(to);
    }

    // What comes in from outside is the mean, which is 0 to the network.
    private void Shift(byte* from, float* to, int top, int left, float outside)
    {
        var (height, width) = (_image.Height, _image.Width);
        var (first, end) = (Math.Clamp(-left, 0, width), Math.Clamp(width - left, 0, width));
        for (var y = 0; y < height; y++, to += width)
        {
            var row = y + top;
            if (row < 0 || row >= height)
            {
                new Span<float>(to, width).Fill(outside);
                continue;
            }

            new Span<float>(to, first).Fill(outside);
            new Span<float>(to + end, width - end).Fill(outside);
            if (end > first)
                BatchFeed.Widen(from + (row * width) + first + left, to + first, end - first);
        }
    }

    // Bilinear, between the centres of pixels.
    private void Resample(byte* from, float* to, ImageChange change, float outside)
    {
        var (height, width) = (_image.Height, _image.Width);
        for (var y = 0; y < height; y++)
        {
            var v = change.Top + ((y + 0.5) * change.Height / height) - 0.5;
            var (top, down) = ((int)Math.Floor(v), (float)(v - Math.Floor(v)));
            for (var x = 0; x < width; x++)
            {
                var u = change.Left + ((x + 0.5) * change.Width / width) - 0.5;
                var (left, right) = ((int)Math.Floor(u), (float)(u - Math.Floor(u)));
                var upper = At(top, left) + (right * (At(top, left + 1) - At(top, left)));
                var lower = At(top + 1, left) + (right * (At(top + 1, left + 1) - At(top + 1, left)));
                *to++ = upper + (down * (lower - upper));
            }
        }

        // A pixel's half beyond the edge is the edge.
        float At(int row, int column) => row < -1 || row > height || column < -1 || column > width ? outside
            : from[(Math.Clamp(row, 0, height - 1) * width) + Math.Clamp(column, 0, width - 1)];
    }

    private void Color(ImageChange change, float* to)
    {
        var mean = 0.0;
        for (var i = 0; i < _area; i++)
            mean += Grey(to, i);
        mean *= change.Brightness / (double)_area;
        for (var i = 0; i < _area; i++)
        {
            var grey = Grey(to, i);
            for (var c = 0; c < _image.Channels; c++)
            {
                ref var pixel = ref to[(c * _area) + i];
                var value = change.Brightness * (grey + (change.Saturation * (pixel - grey)));
                pixel = Math.Clamp((float)(mean + (change.Contrast * (value - mean))), 0, 255);
            }
        }
    }

    // Rec. 601, as everywhere.
    private float Grey(float* pixels, int i) => _image.Channels == 1 ? pixels[i] : (0.299f * pixels[i]) + (0.587f * pixels[_area + i]) + (0.114f * pixels[(2 * _area) + i]);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Normalize(float* to)
    {
        for (var c = 0; c < _image.Channels; c++, to += _area)
        {
            var (mean, scale) = (new Vector<float>(_image.Mean[c]), new Vector<float>(_image.Scale[c]));
            var i = 0;
            for (; i <= _area - Vector<float>.Count; i += Vector<float>.Count)
                ((Vector.Load(to + i) - mean) * scale).Store(to + i);
            for (; i < _area; i++)
                to[i] = (to[i] - _image.Mean[c]) * _image.Scale[c];
        }
    }
}
