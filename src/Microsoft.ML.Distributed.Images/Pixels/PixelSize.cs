using Microsoft.ML.Transforms.Image;

namespace Microsoft.ML.Distributed;

/// <summary>The images that a network takes.</summary>
/// <param name="Height">Rows of pixels.</param>
/// <param name="Width">Columns of pixels.</param>
/// <param name="Channels">1: grey; 3: red, green, blue.</param>
/// <param name="Resizing">What becomes of images of another shape.</param>
internal sealed record PixelSize(int Height, int Width, int Channels, ImageResizingEstimator.ResizingKind Resizing)
{
    public int Length => Height * Width * Channels;
}
