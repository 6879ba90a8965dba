namespace Microsoft.ML.Distributed;

/// <summary>What is done to training images, anew in each epoch: a function of seed, epoch and row, whatever the number of ranks. Images that are validated or scored stay as they are.</summary>
/// <example><code>
/// var forPhotographs = new ImageAugmentation { LeastArea = 0.5, Flip = 0.5, Brightness = 0.2, Contrast = 0.2, Saturation = 0.2 };
/// var forDrawings = new ImageAugmentation { Shift = 2 };
/// </code></example>
public sealed class ImageAugmentation
{
    /// <summary>The most pixels, at the network's size, by which an image is moved in each direction; up to half of it. What comes in at the edges is the mean.</summary>
    /// <value>0</value>
    public int Shift { get; init; }

    /// <summary>The least part of the image's area, from 0.01 to 1, that a window of its shape covers, whose place is random and which is then enlarged.</summary>
    /// <value>1: the whole image.</value>
    public double LeastArea { get; init; } = 1;

    /// <summary>The probability of its mirror image. Not for letters and digits.</summary>
    /// <value>0</value>
    public double Flip { get; init; }

    /// <summary>How much brighter or darker, from 0 to 1: pixels times a factor from 1 - x to 1 + x.</summary>
    /// <value>0</value>
    public double Brightness { get; init; }

    /// <summary>The same of the contrast: distances of pixels from the image's mean.</summary>
    /// <value>0</value>
    public double Contrast { get; init; }

    /// <summary>The same of the colours: distances of pixels from their grey.</summary>
    /// <value>0</value>
    public double Saturation { get; init; }

    /// <summary>Has each image mixed with another one, and its label with that one's (mixup, Zhang et al., arXiv:1710.09412): alpha of the beta distribution of the shares, up to 1. Metrics of training rows are then those of mixtures.</summary>
    /// <value>0: images stay by themselves. 0.2 is usual.</value>
    public double Mixup { get; init; }

    internal MLDistributed.Protocol.ImageAugmentation ToSpec() => new()
    {
        Shift = Shift,
        LeastArea = LeastArea,
        Flip = Flip,
        Brightness = Brightness,
        Contrast = Contrast,
        Saturation = Saturation,
        Mixup = Mixup,
    };
}
