using Microsoft.ML.Distributed;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>What modules that write themselves (<see cref="IOnnxModule"/>) have added to a graph, and whether that is what their forward gives.</summary>
internal sealed class OwnGraphs
{
    private readonly List<Part> _parts = [];

    /// <summary>Has a module write itself.</summary>
    /// <param name="writer">The graph.</param>
    /// <param name="layer">The module.</param>
    /// <param name="input">The name of its input.</param>
    /// <param name="forward">The type and shape of a row that its forward returns; null: it was not called.</param>
    /// <returns>The name of its output.</returns>
    public string Write(TraceWriter writer, nn.Module layer, string input, (TensorProto.Types.DataType Type, long[] Shape)? forward = null)
    {
        var builder = new OnnxGraphBuilder(writer.Graph, (name, x) => Layer(writer, layer, name, x), name => writer.Tensor(Named(layer, name)));
        try
        {
            var first = writer.Graph.NodeCount;
            var output = ((IOnnxModule)layer).ToOnnx(builder, new OnnxValue(input)).Name ?? throw new InvalidOperationException("It returned no value.");
            _parts.Add(new Part(ModuleTensors.NameOf(writer.Module, layer), layer.GetType().Name, first, writer.Graph.NodeCount, output, forward));
            return output;
        }
        catch (Exception e) when (e is not UserModuleException)
        {
            throw new UserModuleException($"Module \"{layer.GetType().Name}\" failed in its ToOnnx: {e.GetType().Name}: {e.Message}", inner: e);
        }
    }

    /// <summary>Looks whether any runtime takes the graph, and whether it gives at each place what the module does.</summary>
    /// <param name="module">The module's name.</param>
    /// <param name="model">The graph.</param>
    /// <param name="spec">The job.</param>
    /// <param name="remedy">What is to be done of a graph that nobody here wrote; null: report it.</param>
    /// <exception cref="UserModuleException">It does not; names the output, what it is, and what was expected.</exception>
    public void Check(string module, ModelProto model, JobSpec spec, string? remedy)
    {
        var shapes = OnnxProgram.Shapes(model, spec, out var fitting);
        var types = OnnxTypes.Of(model.Graph);
        var known = Math.Min(fitting, types.Misfit?.Node ?? fitting);
        // What is wrong first: what is behind a wrong output cannot fit.
        foreach (var part in _parts.TakeWhile(p => p.Behind <= known))
        {
            if (part.Forward is not var (type, shape))
                continue;
            var (found, expected) = (Shown(types.Of(part.Output), shapes.GetValueOrDefault(part.Output)), Shown(type, Array.ConvertAll(shape, d => (int)d)));
            if (found != expected)
                throw new UserModuleException($"Module \"{module}\" cannot be written as ONNX: the ToOnnx of {part.Shown} returns \"{part.Output}\", {found}, expected {expected}, as its forward returns. Cast or reshape it, or correct the forward.");
        }

        if (types.Misfit is not var (node, why) || node > fitting)
            return;
        var at = $"node {node} (\"{model.Graph.Node[node].OpType}\") {why}";
        throw new UserModuleException(_parts.Where(p => node >= p.First && node < p.Behind).MinBy(p => p.Behind - p.First) is { } writer
            ? $"Module \"{module}\" cannot be written as ONNX: in the ToOnnx of {writer.Shown}, {at}. Cast it by graph.Node(\"Cast\", [x], (\"to\", type)), where type is {(int)TensorProto.Types.DataType.Float} for Float32, {(int)TensorProto.Types.DataType.Int64} for Int64 and {(int)TensorProto.Types.DataType.Bool} for Bool."
            : $"Module \"{module}\" has an ONNX graph that no other runtime takes: {at}. {remedy ?? "Report this as a defect of MLDistributed."}");
    }

    private static string Shown(TensorProto.Types.DataType? type, int[]? shape) =>
        shape is null ? "a constant, or a value whose first dimension does not count rows" : $"[{string.Join(", ", shape.Select(d => $"{d}").Prepend("N"))}] of {OnnxTypes.Shown(type)}";

    private string Layer(TraceWriter writer, nn.Module within, string name, string input)
    {
        var layer = within;
        foreach (var part in name.Split('.'))
            layer = layer.named_children().FirstOrDefault(c => c.name == part).module ?? throw new ArgumentException($"Layer \"{name}\" is not in {within.GetType().Name}, expected one of {string.Join(", ", within.named_children().Select(c => c.name))}.", nameof(name));
        if (layer is IOnnxModule)
            return Write(writer, layer, input);
        if (layer is TorchSharp.Modules.Sequential)
        {
            foreach (var (part, _) in layer.named_children())
                input = Layer(writer, layer, part, input);
            return input;
        }

        if (layer is TorchSharp.Modules.Unflatten)
            throw new ArgumentException($"Layer \"{name}\" is an Unflatten, expected graph.Reshape in its place.", nameof(name));
        if (layer is TorchSharp.Modules.Flatten)
            return writer.Node("Flatten", [input], OnnxGraph.Integer("axis", 1));
        if (layer is TorchSharp.Modules.AdaptiveAvgPool1d { output_size: not 1 } or TorchSharp.Modules.AdaptiveAvgPool2d { output_size: not ([1] or [1, 1]) })
            throw new ArgumentException($"Layer \"{name}\" ({layer.GetType().Name}) is to another size than 1, expected a graph.Node(\"AveragePool\", ...) in its place.", nameof(name));
        if (layer is TorchSharp.Modules.GroupNorm)
            throw new ArgumentException($"Layer \"{name}\" is a GroupNorm, expected a graph.Node(\"InstanceNormalization\", ...) between reshapes in its place.", nameof(name));
        if (layer is TorchSharp.Modules.Convolution { padding_mode: not (PaddingModes.Zeros or PaddingModes.Constant) } convolution)
            throw new ArgumentException($"Layer \"{name}\" ({layer.GetType().Name}) pads with {convolution.padding_mode}, expected a graph.Node(\"Gather\", ...) of what lies around before a convolution without padding.", nameof(name));
        if (layer is TorchSharp.Modules.PadBase)
            throw new ArgumentException($"Layer \"{name}\" ({layer.GetType().Name}) does not know its input's dimensions, expected a graph.Node(\"Pad\", ...) in its place.", nameof(name));
        // Only some ask for shapes: a linear layer's input is taken as [N, inputs], a pool's by its kernel.
        var rank = layer is TorchSharp.Modules.MaxPool2d or TorchSharp.Modules.AvgPool2d ? 4 : layer is TorchSharp.Modules.MaxPool1d or TorchSharp.Modules.AvgPool1d ? 3 : 2;
        var layout = new RowLayout(new long[rank], 0);
        return KnownLayers.Of(layer) is null ? throw new ArgumentException($"Layer \"{name}\" ({layer.GetType().Name}) maps to no operator.", nameof(name))
            : ModuleTrace.WriteKnown(writer, layer, new LayerCall(writer, input, layout, layout));
    }

    private static Tensor Named(nn.Module layer, string name)
    {
        foreach (var (known, parameter) in layer.named_parameters())
            if (known == name)
                return parameter;
        foreach (var (known, buffer) in layer.named_buffers())
            if (known == name)
                return buffer;
        throw new ArgumentException($"Tensor \"{name}\" is not in {layer.GetType().Name}, expected one of its parameters or buffers.", nameof(name));
    }

    private sealed record Part(string Name, string Type, int First, int Behind, string Output, (TensorProto.Types.DataType Type, long[] Shape)? Forward)
    {
        public string Shown => Name.Length == 0 ? $"\"{Type}\"" : $"layer \"{Name}\" ({Type})";
    }
}
