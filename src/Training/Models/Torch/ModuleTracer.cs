using Microsoft.ML.Distributed;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// Finds out what a module computes, from what flows between its layers while it runs on random rows. What it sees are the
/// calls of layers that map to ONNX (<see cref="KnownLayers"/>) and of modules that write themselves (<see cref="IOnnxModule"/>);
/// tensors in other shapes are known by their memory, and results of a few functions between layers by their values.
/// </summary>
internal sealed unsafe class ModuleTracer : IDisposable
{
    private const int Rows = 3;
    private readonly nn.Module<Tensor, Tensor> _module;
    private readonly List<TraceStep> _steps = [];
    private readonly List<SeenValue> _values = [];
    private readonly List<Action> _removals = [];
    private int _depth;

    private ModuleTracer(nn.Module<Tensor, Tensor> module) => _module = module;

    /// <exception cref="UserModuleException">It does something that cannot be seen or written; names the first layer.</exception>
    public static ModuleTrace Trace(nn.Module<Tensor, Tensor> module, int inputs)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        using var tracer = new ModuleTracer(module);
        module.eval();
        return tracer.Run(randn([Rows, inputs]).mul(2));
    }

    public void Dispose()
    {
        _removals.ForEach(remove => remove());
        _values.ForEach(v => v.Tensor.Dispose());
    }

    private ModuleTrace Run(Tensor features)
    {
        Keep(features);
        foreach (var layer in ModuleTensors.Layers(_module).OfType<nn.Module<Tensor, Tensor>>())
            if (layer is IOnnxModule || KnownLayers.Of(layer) is not null)
                Watch(layer);
        var outputs = _module.call(features);
        var last = Find(outputs) ?? throw Refusal("its output", outputs);
        return new ModuleTrace([.. _steps], last);
    }

    private void Watch(nn.Module<Tensor, Tensor> layer)
    {
        var before = layer.register_forward_pre_hook((_, input) =>
        {
            // What is inside a module that writes itself is its own.
            _depth++;
            return input;
        });
        var input = 0;
        var look = layer.register_forward_pre_hook((_, x) =>
        {
            if (_depth == 1)
                input = Find(x) ?? throw Refusal($"the input of layer {Shown(layer)}", x);
            return x;
        });
        var behind = layer.register_forward_hook((_, x, y) =>
        {
            if (--_depth == 0)
                Add([input], y, Writer(layer, x.shape, y.shape));
            return y;
        });
        _removals.AddRange([before.remove, look.remove, behind.remove]);
    }

    private Func<TraceWriter, string[], string> Writer(nn.Module layer, long[] inputShape, long[] outputShape)
    {
        var name = Name(layer);
        if (layer is IOnnxModule)
            return (writer, inputs) => ModuleTrace.WriteOwn(writer, writer.Layer(name), inputs[0]);
        if (outputShape.Length == 0 || outputShape[0] != Rows)
            throw new UserModuleException($"Module \"{_module.GetType().Name}\" cannot be written as ONNX: layer {Shown(layer)} puts out [{string.Join(", ", outputShape)}] for {Rows} rows, expected the rows as the first dimension. Keep them there.");
        return (writer, inputs) => ModuleTrace.WriteKnown(writer, writer.Layer(name), new LayerCall(writer, inputs[0], inputShape, outputShape));
    }

    private int Add(int[] inputs, Tensor output, Func<TraceWriter, string[], string> write)
    {
        var number = Keep(output);
        _steps.Add(new TraceStep(inputs, number, write));
        return number;
    }

    // Its memory must not become another tensor's while it is looked for.
    private int Keep(Tensor tensor)
    {
        _values.Add(new SeenValue(_values.Count, tensor.alias().DetachFromDisposeScope()));
        return _values.Count - 1;
    }

    private int? Find(Tensor tensor)
    {
        if (tensor.dtype != ScalarType.Float32)
            return null;
        // The latest first: layers may work in place.
        for (var i = _values.Count - 1; i >= 0; i--)
        {
            var value = _values[i];
            if (!value.IsMemoryOf(tensor))
                continue;
            if (value.Tensor.shape.AsSpan().SequenceEqual(tensor.shape))
                return i;
            if (tensor.shape.Length < 2 || tensor.shape[0] != Rows)
                return null;
            var shape = tensor.shape[1..];
            return Add([i], tensor, (writer, inputs) => writer.Reshape(inputs[0], shape));
        }

        foreach (var (inputs, write) in ValueRecognition.Find(tensor, _values))
            return Add(inputs, tensor, write);
        return null;
    }

    private UserModuleException Refusal(string what, Tensor tensor)
    {
        var unknown = ModuleTensors.Layers(_module).Skip(1).FirstOrDefault(l => l is not IOnnxModule && KnownLayers.Of(l) is null && !KnownLayers.IsContainer(l) && l.GetType().Assembly == typeof(torch).Assembly);
        var why = unknown is not null ? $"layer {Shown(unknown)} maps to no operator"
            : $"{what}, [{string.Join(", ", tensor.shape)}], comes from code that is not seen";
        return new UserModuleException($"Module \"{_module.GetType().Name}\" cannot be written as ONNX: {why}. Use layers that map, called by call, or have the module, or a part of it, implement IOnnxModule: docs/own-modules.md lists both.");
    }

    private string Shown(nn.Module layer) => $"\"{Name(layer)}\" ({layer.GetType().Name})";

    private string Name(nn.Module layer) => ModuleTensors.NameOf(_module, layer);
}

/// <summary>A value that was seen.</summary>
/// <param name="Number">Its number.</param>
/// <param name="Tensor">An alias of it.</param>
internal sealed unsafe record SeenValue(int Number, Tensor Tensor)
{
    public bool IsMemoryOf(Tensor tensor) => TorchMemory.Data(tensor) == TorchMemory.Data(Tensor) && tensor.numel() == Tensor.numel() && tensor.is_contiguous() && Tensor.is_contiguous();
}
