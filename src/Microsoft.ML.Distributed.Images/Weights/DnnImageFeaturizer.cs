using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>
/// The ResNet-18 that ML.NET's image featurizer has as ONNX, written by CNTK. It takes blue, green and red, from 0 to 255 less the mean
/// image beside it, of which the means of its channels are taken here: ours are of any size. Its last stage has a block more than torchvision's.
/// </summary>
internal static class DnnImageFeaturizer
{
    private const double White = 255;
    private static readonly double[] s_means = [123.15163, 115.90288, 103.06262]; // of the channels of ResNetPreprocess.onnx: red, green, blue

    public static ImageWeights Read(Stream file)
    {
        var tensors = OnnxResNet.Read(OnnxFile.Read(file).Graph, MLDistributed.Protocol.ImageArchitecture.Resnet18Cntk);
        return new ImageWeights(tensors.Select(t => t.Name == "conv1.weight" ? RedFirst(t) : t))
        {
            ChannelMeans = [.. s_means.Select(m => m / White)],
            ChannelDeviations = [1 / White, 1 / White, 1 / White],
        };
    }

    private static NamedTensor RedFirst(NamedTensor weights)
    {
        var (channels, size) = (3, (int)(weights.Shape[2] * weights.Shape[3]));
        var values = new float[weights.Values.Length];
        for (var o = 0; o < weights.Shape[0]; o++)
            for (var c = 0; c < channels; c++)
                weights.Values.AsSpan(((o * channels) + channels - 1 - c) * size, size).CopyTo(values.AsSpan(((o * channels) + c) * size));
        return weights with { Values = values };
    }
}
