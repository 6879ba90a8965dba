namespace MLDistributed.Protocol.Onnx;

/// <summary>Writes a trained image network as an ONNX model. Batch normalisation is part of the convolutions before it.</summary>
/// <remarks>Input "features" [N, channels x height x width], pixels from 0 to 255, one plane after the other. Outputs as those of <see cref="OnnxMlpWriter"/>.</remarks>
public static class OnnxImageWriter
{
    /// <summary>The epsilon of the normalisations, torchvision's.</summary>
    public const float Epsilon = 1e-5f;

    /// <summary>Makes the model.</summary>
    /// <param name="spec">The job that trained it.</param>
    /// <param name="tensors">Parameters and running statistics by torchvision's names, as "layer1.0.conv1.weight" and "layer1.0.bn1.running_mean".</param>
    /// <exception cref="ArgumentException">A tensor is missing or has another size than the network asks for.</exception>
    public static ModelProto Write(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        var image = spec?.Module?.Image ?? throw new ArgumentException("The job has no image network, expected Module.Image.", nameof(spec));
        var network = ImageNetwork.Of(image);
        var graph = new OnnxGraph(tensors);
        return OnnxFrame.Build(spec, graph, "image", (input, output) =>
        {
            var values = new List<string> { Normalized(graph, image, input) };
            foreach (var layer in network.Layers)
                values.Add(layer.Operation switch
                {
                    ImageOperation.Convolution => Convolution(graph, tensors, layer, values[layer.Input]),
                    ImageOperation.MaxPool => graph.Node("MaxPool", [values[layer.Input]], null, Window(layer)),
                    ImageOperation.Sum => graph.Node("Relu", [graph.Node("Add", [values[layer.Input], values[layer.Other]])]),
                    _ => Head(graph, layer, values[layer.Input], output),
                });
            return values[^1];
        });
    }

    private static string Normalized(OnnxGraph graph, ImageSpec image, string features)
    {
        var pixels = graph.Node("Reshape", [features, graph.Integers("image.shape", [0, image.Channels, image.Height, image.Width])]);
        var centered = graph.Node("Sub", [pixels, graph.Constant("image.mean", [image.Channels, 1, 1], [.. image.Mean])]);
        return graph.Node("Mul", [centered, graph.Constant("image.scale", [image.Channels, 1, 1], [.. image.Scale])]);
    }

    // gain (w x - mean) / deviation + bias = (w gain / deviation) x + (bias - mean gain / deviation)
    private static string Convolution(OnnxGraph graph, IReadOnlyDictionary<string, float[]> tensors, ImageLayer layer, string input)
    {
        var size = layer.Inputs * layer.Kernel * layer.Kernel;
        var weights = (float[])Tensor(tensors, $"{layer.Name}.weight", layer.Outputs * size).Clone();
        var (gain, bias) = (Tensor(tensors, $"{layer.Norm}.weight", layer.Outputs), Tensor(tensors, $"{layer.Norm}.bias", layer.Outputs));
        var (mean, variance) = (Tensor(tensors, $"{layer.Norm}.running_mean", layer.Outputs), Tensor(tensors, $"{layer.Norm}.running_var", layer.Outputs));
        var shift = new float[layer.Outputs];
        for (var o = 0; o < layer.Outputs; o++)
        {
            var factor = gain[o] / Math.Sqrt((double)variance[o] + Epsilon);
            foreach (ref var weight in weights.AsSpan(o * size, size))
                weight = (float)(weight * factor);
            shift[o] = (float)(bias[o] - (mean[o] * factor));
        }

        var sums = graph.Node("Conv",
            [input, graph.Constant($"{layer.Name}.weight", [layer.Outputs, layer.Inputs, layer.Kernel, layer.Kernel], weights), graph.Constant($"{layer.Name}.bias", [layer.Outputs], shift)],
            null, Window(layer));
        return layer.IsRectified ? graph.Node("Relu", [sums]) : sums;
    }

    private static string Head(OnnxGraph graph, ImageLayer layer, string input, string? output)
    {
        var means = graph.Node("Flatten", [graph.Node("GlobalAveragePool", [input])], null, OnnxGraph.Integer("axis", 1));
        return graph.Node("Gemm", [means, graph.Parameter($"{layer.Name}.weight", layer.Outputs, layer.Inputs), graph.Parameter($"{layer.Name}.bias", layer.Outputs)], output, OnnxGraph.Integer("transB", 1));
    }

    private static AttributeProto[] Window(ImageLayer layer) =>
    [
        OnnxGraph.List("kernel_shape", [layer.Kernel, layer.Kernel]), OnnxGraph.List("strides", [layer.Stride, layer.Stride]),
        OnnxGraph.List("pads", [layer.Padding, layer.Padding, layer.Padding, layer.Padding]),
    ];

    private static float[] Tensor(IReadOnlyDictionary<string, float[]> tensors, string name, int length) => tensors.TryGetValue(name, out var values) && values.Length == length ? values
        : throw new ArgumentException($"Tensor \"{name}\" has {values?.Length ?? 0} values, expected {length}.", nameof(tensors));
}
