using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>The weights of a pretrained image network, by torchvision's names.</summary>
public sealed class ImageWeights
{
    // Of each architecture one that smaller ones lack, the largest first.
    private static readonly (string Name, ImageArchitecture Architecture)[] s_marks =
    [
        ("layer1.0.conv3.weight", ImageArchitecture.ResNet50), ("layer1.2.conv1.weight", ImageArchitecture.ResNet34),
        ("layer4.2.conv1.weight", ImageArchitecture.ResNet18Cntk), ("layer1.0.conv1.weight", ImageArchitecture.ResNet18), ("conv5.weight", ImageArchitecture.SmallCnn),
    ];

    private readonly Dictionary<string, NamedTensor> _tensors;

    internal ImageWeights(IEnumerable<NamedTensor> tensors) => _tensors = tensors.ToDictionary(t => t.Name, StringComparer.Ordinal);

    /// <summary>The network that they are of, as far as their names tell; null: none of ours.</summary>
    public ImageArchitecture? Architecture => s_marks.Where(m => _tensors.ContainsKey(m.Name)).Select(m => (ImageArchitecture?)m.Architecture).FirstOrDefault();

    /// <summary>The mean of each channel, of pixels from 0 to 1, that they were trained with; null: ImageNet's.</summary>
    public IReadOnlyList<double>? ChannelMeans { get; internal init; }

    /// <summary>The deviation of each channel that they were trained with; null: ImageNet's.</summary>
    public IReadOnlyList<double>? ChannelDeviations { get; internal init; }

    internal IReadOnlyCollection<NamedTensor> Tensors => _tensors.Values;

    /// <summary>Reads a safetensors file in torchvision's layout: "conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight" to "fc.bias". A job's own weights.safetensors is one.</summary>
    /// <param name="path">The file. Its numbers are float32, float16 or bfloat16.</param>
    /// <exception cref="FormatException">It is no safetensors file, or holds numbers that are not finite.</exception>
    /// <exception cref="IOException">It is missing or cannot be read.</exception>
    public static ImageWeights FromSafetensors(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        using var file = File.OpenRead(path);
        return new ImageWeights(TensorFile.Read(file).Values);
    }

    /// <summary>Reads the ResNet-18 of ML.NET's package Microsoft.ML.DnnImageFeaturizer.ResNet18, trained on ImageNet; it has no head.</summary>
    /// <param name="path">The package's tools/DnnImageModels/ResNet18Onnx/ResNet18.onnx; an app that references the package has it as DnnImageModels/ResNet18Onnx/ResNet18.onnx.</param>
    /// <exception cref="FormatException">It is no such file; names the layer that it lacks.</exception>
    /// <exception cref="IOException">It is missing or cannot be read.</exception>
    public static ImageWeights FromDnnImageFeaturizer(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        using var file = File.OpenRead(path);
        return DnnImageFeaturizer.Read(file);
    }

    /// <summary>All that does not fit a network, each a sentence with the name and both shapes; the head may.</summary>
    internal IEnumerable<string> Misfits(ImageNetwork network)
    {
        var known = network.Tensors;
        // A larger network's would fit as far as ours goes, and compute something else.
        var others = _tensors.Values.ExceptBy(known.Select(t => t.Name), t => t.Name, StringComparer.Ordinal)
            .Where(t => !t.Name.StartsWith("fc.", StringComparison.Ordinal)).OrderBy(t => t.Name, StringComparer.Ordinal);
        return PretrainedFit.Misfits(known, name => _tensors.GetValueOrDefault(name)?.Shape)
            .Concat(_tensors.Values.Where(t => t.Name.EndsWith(".running_var", StringComparison.Ordinal) && t.Values.Any(v => v < 0)).Take(PretrainedFit.MostNamed)
                .Select(t => $"Weights \"{VisibleText.Shortened(t.Name)}\" hold {t.Values.Min()}, expected variances, which are not negative."))
            .Concat(others.Take(PretrainedFit.MostNamed).Select(t => $"Weights \"{VisibleText.Shortened(t.Name)}\" are [{string.Join(", ", t.Shape.Take(8))}], expected none: the network has no such layer."));
    }
}
