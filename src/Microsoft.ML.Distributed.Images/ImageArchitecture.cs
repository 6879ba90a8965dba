namespace Microsoft.ML.Distributed;

/// <summary>A network for images.</summary>
public enum ImageArchitecture
{
    /// <summary>Five 3 x 3 convolutions of 16 to 64 channels with batch normalisation, of which the second and the fourth halve the image, and the mean over it: 65,000 weights, for small images and few cores.</summary>
    SmallCnn,

    /// <summary>ResNet-18 as torchvision defines it (He et al. 2015, arXiv:1512.03385): 11 million weights.</summary>
    ResNet18,

    /// <summary>ResNet-34 as torchvision defines it: 21 million weights.</summary>
    ResNet34,

    /// <summary>ResNet-50 as torchvision defines it: 23 million weights.</summary>
    ResNet50,

    /// <summary>The ResNet-18 of ML.NET's image featurizer, which CNTK trained: torchvision's with a third block in its last stage, 16 million weights. <see cref="ImageWeights.FromDnnImageFeaturizer"/> has them.</summary>
    ResNet18Cntk,
}
