using SkiaSharp;

namespace Microsoft.ML.Distributed;

/// <summary>How a photograph's file says that the camera was held (Exif 2.32, tag 274).</summary>
internal static class Orientation
{
    /// <summary>Whether rows of the file are columns of the image.</summary>
    public static bool SwapsSides(SKEncodedOrigin origin) => origin is SKEncodedOrigin.LeftTop or SKEncodedOrigin.RightTop or SKEncodedOrigin.RightBottom or SKEncodedOrigin.LeftBottom;

    /// <summary>The pixels as they are to be seen.</summary>
    /// <param name="pixels">Of the file, row after row.</param>
    /// <param name="width">Of the file.</param>
    /// <param name="height">Of the file.</param>
    /// <param name="origin">Where its first row and column are to be seen.</param>
    public static uint[] Upright(ReadOnlySpan<uint> pixels, int width, int height, SKEncodedOrigin origin)
    {
        var (right, bottom) = (width - 1, height - 1);
        // Where the first pixel goes, and how far one and one row go from there.
        var (first, across, down) = origin switch
        {
            SKEncodedOrigin.TopRight => (right, -1, width),
            SKEncodedOrigin.BottomRight => ((bottom * width) + right, -1, -width),
            SKEncodedOrigin.BottomLeft => (bottom * width, 1, -width),
            SKEncodedOrigin.LeftTop => (0, height, 1),
            SKEncodedOrigin.RightTop => (bottom, height, -1),
            SKEncodedOrigin.RightBottom => ((right * height) + bottom, -height, -1),
            SKEncodedOrigin.LeftBottom => (right * height, -height, 1),
            _ => (0, 1, width),
        };
        var upright = new uint[width * height];
        for (var (y, i) = (0, 0); y < height; y++)
            for (var x = 0; x < width; x++, i++)
                upright[first + (x * across) + (y * down)] = pixels[i];
        return upright;
    }
}
