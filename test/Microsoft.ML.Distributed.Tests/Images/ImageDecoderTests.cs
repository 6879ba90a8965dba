using Microsoft.ML.Transforms.Image;
using SkiaSharp;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class ImageDecoderTests
{
    private const int Width = 48;
    private const int Height = 32;

    // What the pixel x, y of the file is of the picture, by Exif's table.
    [TestMethod]
    [DataRow(1, "x,y"), DataRow(2, "W-x,y"), DataRow(3, "W-x,H-y"), DataRow(4, "x,H-y"), DataRow(5, "y,x"), DataRow(6, "W-y,x"), DataRow(7, "W-y,H-x"), DataRow(8, "y,H-x")]
    public void Read_PhotographThatLiesOnItsSide_IsUpright(int orientation, string seen)
    {
        var swaps = orientation > 4;
        var (width, height) = swaps ? (Height, Width) : (Width, Height); // of the file
        var file = Oriented(Jpeg(width, height, (x, y) =>
        {
            int Of(string part) => part switch { "x" => x, "y" => y, "W-x" => Width - 1 - x, "H-y" => Height - 1 - y, "H-x" => Height - 1 - x, _ => Width - 1 - y };
            var parts = seen.Split(',');
            return Picture(Of(parts[0]), Of(parts[1]));
        }), (byte)orientation);
        var size = new PixelSize(Height, Width, 3, ImageResizingEstimator.ResizingKind.Fill);
        var planes = new byte[size.Length];

        new ImageDecoder(size).Read(file, planes);

        for (var y = 4; y < Height; y += 8)
            for (var x = 4; x < Width; x += 8)
            {
                var expected = Picture(x, y);
                var at = (y * Width) + x;
                foreach (var (c, value) in new[] { expected.Red, expected.Green, expected.Blue }.Index())
                    Assert.AreEqual(value, planes[(c * Width * Height) + at], 12.0, $"channel {c} of {x}, {y}");
            }
    }

    // Redder to the right, bluer to the bottom.
    private static SKColor Picture(int x, int y) => new((byte)(x * 5), 100, (byte)(y * 7));

    private static byte[] Jpeg(int width, int height, Func<int, int, SKColor> color)
    {
        using var bitmap = new SKBitmap(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque);
        for (var y = 0; y < height; y++)
            for (var x = 0; x < width; x++)
                bitmap.SetPixel(x, y, color(x, y));
        using var data = bitmap.Encode(SKEncodedImageFormat.Jpeg, 95);
        return data.ToArray();
    }

    // With an Exif segment behind the first marker: a TIFF of one entry, of tag 274.
    private static byte[] Oriented(byte[] jpeg, byte orientation)
    {
        byte[] tiff = [(byte)'I', (byte)'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0];
        byte[] exif = [0xFF, 0xE1, 0, (byte)(2 + 6 + tiff.Length), .. "Exif\0\0"u8, .. tiff];
        return [.. jpeg[..2], .. exif, .. jpeg[2..]];
    }
}
