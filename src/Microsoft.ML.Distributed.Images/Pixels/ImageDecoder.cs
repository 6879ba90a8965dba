using System.Runtime.InteropServices;
using Microsoft.ML.Data;
using SkiaSharp;

namespace Microsoft.ML.Distributed;

/// <summary>Images in, planes of bytes out. What is no image is an <see cref="InvalidDataException"/> that says so. For one thread at a time.</summary>
internal sealed class ImageDecoder(PixelSize size)
{
    // 100 megapixels take 400 MB decoded; a few bytes can claim any number.
    private const long MaxPixels = 100_000_000;
    private readonly PixelResizer _resizer = new(size);

    /// <summary>An image that is decoded already.</summary>
    public void Read(MLImage? image, Span<byte> planes)
    {
        if (image is null)
            throw new InvalidDataException("is missing");
        ReadOnlySpan<byte> pixels;
        try
        {
            pixels = image.Pixels;
        }
        catch (Exception e) when (e is InvalidOperationException or ObjectDisposedException)
        {
            throw new InvalidDataException("is disposed", e);
        }

        if (image.Height < 1 || image.Width < 1 || pixels.Length != 4L * image.Height * image.Width)
            throw new InvalidDataException($"has {image.Height} x {image.Width} pixels in {pixels.Length:N0} bytes");
        _resizer.Resize(pixels, image.Height, image.Width, image.PixelFormat == MLPixelFormat.Bgra32, planes);
    }

    /// <summary>The bytes of a file.</summary>
    public void Read(ReadOnlySpan<byte> file, Span<byte> planes)
    {
        if (file.IsEmpty)
            throw new InvalidDataException("is empty");
        using var data = SKData.CreateCopy(file);
        using var codec = SKCodec.Create(data) ?? throw new InvalidDataException($"is in no format that is known, beginning {Convert.ToHexString(file[..Math.Min(4, file.Length)])}");
        var full = codec.Info;
        if ((long)full.Width * full.Height is <= 0 or > MaxPixels)
            throw new InvalidDataException($"has {full.Width:N0} x {full.Height:N0} pixels (at most {MaxPixels:N0})");
        // A large photograph is made smaller while it is decoded, not below what is wanted.
        var swaps = Orientation.SwapsSides(codec.EncodedOrigin);
        var (width, height) = swaps ? (size.Height, size.Width) : (size.Width, size.Height);
        var wanted = Math.Max((float)width / full.Width, (float)height / full.Height);
        var scaled = wanted < 1 ? codec.GetScaledDimensions(wanted) : full.Size;
        if (scaled.Width < Math.Min(width, full.Width) || scaled.Height < Math.Min(height, full.Height))
            scaled = full.Size;
        using var bitmap = new SKBitmap(new SKImageInfo(scaled.Width, scaled.Height, SKColorType.Rgba8888, SKAlphaType.Premul));
        var result = codec.GetPixels(bitmap.Info, bitmap.GetPixels());
        if (result != SKCodecResult.Success)
            throw new InvalidDataException(result == SKCodecResult.IncompleteInput ? "is cut off" : $"is damaged ({result})");
        ReadOnlySpan<byte> pixels = bitmap.GetPixelSpan();
        if (codec.EncodedOrigin != SKEncodedOrigin.TopLeft)
            pixels = MemoryMarshal.AsBytes(Orientation.Upright(MemoryMarshal.Cast<byte, uint>(pixels), scaled.Width, scaled.Height, codec.EncodedOrigin).AsSpan());
        _resizer.Resize(pixels, swaps ? scaled.Width : scaled.Height, swaps ? scaled.Height : scaled.Width, isBlueFirst: false, planes);
    }
}
