using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>
/// A ResNet as somebody else's ONNX, whose initialisers have names of their own: walked beside ours, layer by layer, each found as what
/// reads the value before it and has its window and its weights' shape.
/// </summary>
internal sealed class OnnxResNet
{
    private const float OwnEpsilon = OnnxImageWriter.Epsilon;
    private readonly ILookup<string, NodeProto> _readers;
    private readonly Dictionary<string, TensorProto> _constants;
    private readonly List<NamedTensor> _found = [];

    private OnnxResNet(GraphProto graph)
    {
        _readers = graph.Node.SelectMany(n => n.Input.Distinct().Select(i => (Input: i, Node: n))).ToLookup(r => r.Input, r => r.Node, StringComparer.Ordinal);
        _constants = graph.Initializer.Where(t => t.DataType == (int)TensorProto.Types.DataType.Float).GroupBy(t => t.Name, StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.First(), StringComparer.Ordinal);
    }

    /// <summary>The tensors of all layers but the head, by torchvision's names.</summary>
    /// <exception cref="FormatException">A layer is not there; names it.</exception>
    public static IReadOnlyList<NamedTensor> Read(GraphProto graph, MLDistributed.Protocol.ImageArchitecture architecture)
    {
        var walk = new OnnxResNet(graph);
        var network = ImageNetwork.Of(new ImageSpec { Channels = 3, Height = 224, Width = 224, OutputSize = 1, Architecture = architecture });
        var values = new List<string> { graph.Input.Select(i => i.Name).FirstOrDefault(n => !walk._constants.ContainsKey(n), "") };
        foreach (var layer in network.Layers.SkipLast(1))
            values.Add(layer.Operation switch
            {
                ImageOperation.Convolution => walk.Convolution(layer, values[layer.Input]),
                ImageOperation.MaxPool => walk.Next("MaxPool", values[layer.Input], "the pooling behind \"conv1\"", n => HasWindow(n, layer)).Output[0],
                _ => walk.Rectified(walk.Next("Add", values[layer.Input], $"a sum with \"{values[layer.Other]}\"", n => n.Input.Contains(values[layer.Other])).Output[0]),
            });
        // Or it goes on, and is another network.
        walk.Next("AveragePool", values[^1], "the mean over the image", _ => true);
        return walk._found;
    }

    private string Convolution(ImageLayer layer, string input)
    {
        long[] shape = [layer.Outputs, layer.Inputs, layer.Kernel, layer.Kernel];
        var convolution = Next("Conv", input, $"\"{layer.Name}\", weights of [{string.Join(", ", shape)}]", n => n.Input.Count == 2 && HasWindow(n, layer) && _constants.TryGetValue(n.Input[1], out var weights) && weights.Dims.SequenceEqual(shape));
        var norm = Next("BatchNormalization", convolution.Output[0], $"\"{layer.Norm}\", of {layer.Outputs} channels", n => n.Input.Count == 5 && n.Input.Skip(1).All(i => _constants.TryGetValue(i, out var part) && part.Dims is [var size] && size == layer.Outputs));
        Take($"{layer.Name}.weight", convolution.Input[1]);
        foreach (var (i, part) in ImageNetwork.NormTensors.Index())
            Take($"{layer.Norm}.{part}", norm.Input[i + 1]);
        // Ours is torchvision's: what another adds to the variance is part of it.
        var variance = _found[^1].Values;
        var more = (norm.Attribute.FirstOrDefault(a => a.Name == "epsilon")?.F ?? OwnEpsilon) - OwnEpsilon;
        if (!float.IsFinite(more))
            throw new FormatException($"The ONNX file's {VisibleText.Of(layer.Norm)} has an epsilon of {more}, expected a finite number. Take the file that the package has.");
        for (var i = 0; i < variance.Length; i++)
            variance[i] = Math.Max(0, variance[i] + more);
        return layer.IsRectified ? Rectified(norm.Output[0]) : norm.Output[0];
    }

    private string Rectified(string value) => Next("Relu", value, "max(x, 0)", _ => true).Output[0];

    private void Take(string name, string constant) => _found.Add(OnnxFile.Floats(_constants[constant]) with { Name = name });

    private NodeProto Next(string op, string input, string what, Func<NodeProto, bool> isIt) =>
        _readers[input].FirstOrDefault(n => n.OpType == op && n.Output.Count >= 1 && isIt(n))
        ?? throw new FormatException($"The ONNX file has no {op} of \"{VisibleText.Shortened(input)}\" that is {VisibleText.Of(what)}, expected a ResNet as torchvision defines it. Take the file that the package has.");

    // What is behind an image of even sides makes no difference where the window goes on by two.
    private static bool HasWindow(NodeProto node, ImageLayer layer) =>
        Integers(node, "kernel_shape", layer.Kernel, 2, layer.Kernel) && Integers(node, "strides", layer.Stride, 2, 1)
        && node.Attribute.FirstOrDefault(a => a.Name == "pads")?.Ints is var pads && (pads is null ? layer.Padding == 0 : pads.Count == 4 && pads.Take(2).All(p => p == layer.Padding) && pads.Skip(2).All(p => p <= layer.Padding && p >= layer.Padding - (layer.Stride - 1)))
        && (node.Attribute.FirstOrDefault(a => a.Name == "group")?.I ?? 1) == 1 && Integers(node, "dilations", 1, 2, 1);

    private static bool Integers(NodeProto node, string name, long value, int count, long absent) =>
        node.Attribute.FirstOrDefault(a => a.Name == name)?.Ints is { } ints ? ints.Count == count && ints.All(i => i == value) : value == absent;
}
