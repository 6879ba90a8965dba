using MLDistributed.Protocol.Weights;

namespace MLDistributed.Protocol;

/// <summary>What a layer of an image network computes.</summary>
public enum ImageOperation
{
    /// <summary>A convolution without biases, batch normalisation, and where it <see cref="ImageLayer.IsRectified"/> max(x, 0).</summary>
    Convolution,

    /// <summary>The largest of each window.</summary>
    MaxPool,

    /// <summary>The sum of two values, and max(x, 0) of it.</summary>
    Sum,

    /// <summary>The mean over the image, and a linear layer of it.</summary>
    Head,
}

/// <summary>A layer. Values are numbered: 0 is the image, and layer i makes value i + 1.</summary>
/// <param name="Operation">What it computes.</param>
/// <param name="Input">The value that it reads.</param>
/// <param name="Name">Of its weights, as torchvision names them: "layer1.0.conv1".</param>
/// <param name="Norm">Of its batch normalisation's: "layer1.0.bn1".</param>
/// <param name="Inputs">Channels that come in.</param>
/// <param name="Outputs">Channels that go out.</param>
/// <param name="Kernel">Height and width of a window.</param>
/// <param name="Stride">From one window to the next.</param>
/// <param name="IsRectified">Whether what is below 0 becomes 0.</param>
/// <param name="Other">The second value of a sum.</param>
public sealed record ImageLayer(ImageOperation Operation, int Input, string Name = "", string Norm = "", int Inputs = 0, int Outputs = 0, int Kernel = 1, int Stride = 1, bool IsRectified = false, int Other = 0)
{
    /// <summary>Zeros on each side of the image.</summary>
    public int Padding => Kernel / 2;

    /// <summary>The part of the network that it belongs to: "conv1", "layer1"; the head's name.</summary>
    public string Stage => Name.Split('.')[0];
}

/// <summary>An image network as a list of layers, from which its parameters, its training, its ONNX and its size all follow.</summary>
public sealed class ImageNetwork
{
    private static readonly int[] s_smallWidths = [16, 32, 32, 64, 64];
    private readonly List<ImageLayer> _layers = [];

    private ImageNetwork(ImageSpec spec) => Spec = spec;

    /// <summary>What each batch normalisation has, a number a channel, in ONNX's order.</summary>
    public static IReadOnlyList<string> NormTensors { get; } = ["weight", "bias", "running_mean", "running_var"];

    /// <summary>Sizes, channels and outputs.</summary>
    public ImageSpec Spec { get; }

    /// <summary>The layers in order; the last is the head.</summary>
    public IReadOnlyList<ImageLayer> Layers => _layers;

    /// <summary>The parts that can be frozen, in order: "conv1", "layer1" to "layer4" of a ResNet.</summary>
    public IReadOnlyList<string> Stages => [.. _layers.Where(l => l.Operation == ImageOperation.Convolution).Select(l => l.Stage).Distinct()];

    /// <summary>Layers, from the image on, that keep their first weights.</summary>
    public int FrozenLayers
    {
        get
        {
            var frozen = Stages.Take(Spec.FrozenStages).ToHashSet(StringComparer.Ordinal);
            return frozen.Count == 0 ? 0 : _layers.FindIndex(l => l.Operation is ImageOperation.Convolution or ImageOperation.Head && !frozen.Contains(l.Stage));
        }
    }

    /// <summary>All tensors by torchvision's names; the head may be missing in weights of others, or be one of other classes.</summary>
    public IReadOnlyList<ModuleTensor> Tensors
    {
        get
        {
            var tensors = new List<ModuleTensor>();
            foreach (var layer in _layers)
            {
                if (layer.Operation == ImageOperation.Convolution)
                    tensors.AddRange([new($"{layer.Name}.weight", [layer.Outputs, layer.Inputs, layer.Kernel, layer.Kernel]), .. NormTensors.Select(part => new ModuleTensor($"{layer.Norm}.{part}", [layer.Outputs]))]);
                else if (layer.Operation == ImageOperation.Head)
                    tensors.AddRange([new($"{layer.Name}.weight", [layer.Outputs, layer.Inputs], MayDiffer: true), new($"{layer.Name}.bias", [layer.Outputs], MayDiffer: true)]);
            }

            return tensors;
        }
    }

    /// <summary>The network that a specification names.</summary>
    /// <exception cref="FormatException">No release knows such an architecture.</exception>
    public static ImageNetwork Of(ImageSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var network = new ImageNetwork(spec);
        var features = spec.Architecture switch
        {
            ImageArchitecture.SmallCnn => network.AddSmall(),
            ImageArchitecture.Resnet18 => network.AddResNet([2, 2, 2, 2], isBottleneck: false),
            ImageArchitecture.Resnet18Cntk => network.AddResNet([2, 2, 2, 3], isBottleneck: false),
            ImageArchitecture.Resnet34 => network.AddResNet([3, 4, 6, 3], isBottleneck: false),
            ImageArchitecture.Resnet50 => network.AddResNet([3, 4, 6, 3], isBottleneck: true),
            _ => throw new FormatException($"Architecture is {spec.Architecture:D}, expected one that this release knows. Use the same release on both sides."),
        };
        network.Add(new ImageLayer(ImageOperation.Head, network._layers.Count, "fc", Inputs: features, Outputs: spec.OutputSize));
        return network;
    }

    /// <summary>Numbers of each value of a row, the image first.</summary>
    public IReadOnlyList<long> Sizes()
    {
        var shapes = new List<(int Channels, int Height, int Width)> { (Spec.Channels, Spec.Height, Spec.Width) };
        foreach (var layer in _layers)
        {
            var (channels, height, width) = shapes[layer.Input];
            shapes.Add(layer.Operation switch
            {
                ImageOperation.Convolution => (layer.Outputs, Reduced(height), Reduced(width)),
                ImageOperation.MaxPool => (channels, Reduced(height), Reduced(width)),
                ImageOperation.Sum => (channels, height, width),
                _ => (layer.Outputs, 1, 1),
            });

            int Reduced(int size) => ((size + (2 * layer.Padding) - layer.Kernel) / layer.Stride) + 1;
        }

        return [.. shapes.Select(s => (long)s.Channels * s.Height * s.Width)];
    }

    /// <summary>Numbers of its ONNX file: weights, and of each convolution the biases that its normalisation becomes.</summary>
    public long NumberCount() => _layers.Sum(l => l.Operation is ImageOperation.Convolution or ImageOperation.Head ? ((long)l.Inputs * l.Kernel * l.Kernel + 1) * l.Outputs : 0) + (2L * Spec.Channels);

    private int AddSmall()
    {
        var channels = Spec.Channels;
        foreach (var (i, width) in s_smallWidths.Index())
        {
            Convolve($"conv{i + 1}", $"bn{i + 1}", _layers.Count, channels, width, 3, stride: i is 1 or 3 ? 2 : 1);
            channels = width;
        }

        return channels;
    }

    private int AddResNet(int[] blocks, bool isBottleneck)
    {
        Convolve("conv1", "bn1", 0, Spec.Channels, 64, 7, stride: 2);
        Add(new ImageLayer(ImageOperation.MaxPool, _layers.Count, Kernel: 3, Stride: 2));
        var (channels, planes) = (64, 64);
        for (var stage = 0; stage < blocks.Length; stage++, planes *= 2)
            for (var block = 0; block < blocks[stage]; block++)
                channels = AddBlock($"layer{stage + 1}.{block}", channels, planes, stage > 0 && block == 0 ? 2 : 1, isBottleneck);
        return channels;
    }

    private int AddBlock(string name, int channels, int planes, int stride, bool isBottleneck)
    {
        var input = _layers.Count;
        var outputs = isBottleneck ? 4 * planes : planes;
        int last;
        if (isBottleneck)
        {
            var first = Convolve($"{name}.conv1", $"{name}.bn1", input, channels, planes, 1);
            var second = Convolve($"{name}.conv2", $"{name}.bn2", first, planes, planes, 3, stride);
            last = Convolve($"{name}.conv3", $"{name}.bn3", second, planes, outputs, 1, isRectified: false);
        }
        else
        {
            var first = Convolve($"{name}.conv1", $"{name}.bn1", input, channels, planes, 3, stride);
            last = Convolve($"{name}.conv2", $"{name}.bn2", first, planes, planes, 3, isRectified: false);
        }

        var shortcut = stride == 1 && channels == outputs ? input : Convolve($"{name}.downsample.0", $"{name}.downsample.1", input, channels, outputs, 1, stride, isRectified: false);
        Add(new ImageLayer(ImageOperation.Sum, last, Other: shortcut));
        return outputs;
    }

    private int Convolve(string name, string norm, int input, int inputs, int outputs, int kernel, int stride = 1, bool isRectified = true) =>
        Add(new ImageLayer(ImageOperation.Convolution, input, name, norm, inputs, outputs, kernel, stride, isRectified));

    private int Add(ImageLayer layer)
    {
        _layers.Add(layer);
        return _layers.Count;
    }
}
