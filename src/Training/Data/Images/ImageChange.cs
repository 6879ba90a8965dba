using MLDistributed.Protocol;

namespace MLDistributed.Training.Data;

/// <summary>What becomes of an image in an epoch: a function of seed, epoch and row, whoever computes it.</summary>
/// <param name="Top">Where the window begins, in pixels of the image; may be outside.</param>
/// <param name="Left">Where it begins, from the left.</param>
/// <param name="Height">Its height, in pixels of the image.</param>
/// <param name="Width">Its width.</param>
/// <param name="IsFlipped">Whether left is right.</param>
/// <param name="Brightness">Times each pixel.</param>
/// <param name="Contrast">Times the distance of each pixel from the image's mean.</param>
/// <param name="Saturation">Times the distance of each pixel from its grey.</param>
/// <param name="Share">What the image has of its mixture with another, from a half to 1.</param>
/// <param name="Partner">Which row the other is, in [0, 1) of all.</param>
internal readonly record struct ImageChange(double Top, double Left, double Height, double Width, bool IsFlipped, float Brightness, float Contrast, float Saturation, double Share, double Partner)
{
    private const ulong Stream = 0x696d6167;
    private const int MaxTries = 200;

    /// <summary>Whether the window is the image itself, moved by whole pixels.</summary>
    public bool IsShift(ImageSpec image) => Height == image.Height && Width == image.Width;

    /// <summary>Whether colours change.</summary>
    public bool IsColored => Brightness != 1 || Contrast != 1 || Saturation != 1;

    /// <summary>What becomes of a row.</summary>
    public static ImageChange Of(ImageSpec image, ulong seed, int epoch, long row)
    {
        var augmentation = image.Augmentation ?? new ImageAugmentation();
        var key = CounterRandom.Hash(CounterRandom.Hash(CounterRandom.Hash(seed, Stream), (ulong)epoch), (ulong)row);
        var leastArea = augmentation.LeastArea == 0 ? 1 : augmentation.LeastArea;
        var side = Math.Sqrt(leastArea + (Draw(0) * (1 - leastArea)));
        var (height, width) = leastArea == 1 ? (image.Height, image.Width) : (image.Height * side, image.Width * side);
        return new ImageChange(
            Place(1, image.Height - height), Place(2, image.Width - width), height, width,
            Draw(3) < augmentation.Flip, Factor(4, augmentation.Brightness), Factor(5, augmentation.Contrast), Factor(6, augmentation.Saturation),
            augmentation.Mixup == 0 ? 1 : Shared(augmentation.Mixup), Draw(7));

        double Draw(ulong place) => CounterRandom.Uniform(key, place);
        float Factor(ulong place, double most) => (float)(1 + (most * ((2 * Draw(place)) - 1)));
        // Within the image, and moved by the shift beyond it.
        double Place(ulong place, double room) => leastArea == 1
            ? Math.Floor(Draw(place) * ((2 * augmentation.Shift) + 1)) - augmentation.Shift
            : (Draw(place) * (room + (2 * augmentation.Shift))) - augmentation.Shift;

        // Of the beta distribution, by Jöhnk's method: for an alpha up to 1 at least every second try holds.
        double Shared(double alpha)
        {
            for (var i = 0UL; i < MaxTries; i++)
            {
                var (a, b) = (Math.Pow(Draw(8 + (2 * i)), 1 / alpha), Math.Pow(Draw(9 + (2 * i)), 1 / alpha));
                if (a + b is > 0 and <= 1)
                    return Math.Max(a, b) / (a + b);
            }

            return 1;
        }
    }
}
