using System.Reflection;
using System.Runtime.Loader;
using Microsoft.ML.Distributed;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// Finds out what a module computes, from what it does while it runs on a few rows. Layers are watched by hooks
/// (<see cref="KnownLayers"/>, <see cref="StepLayers"/>, <see cref="IOnnxModule"/>), functions between them by the calls that the module's
/// code makes (<see cref="WatchedCode"/>); of code that is not watched, tensors in other shapes are known by their memory, and
/// results of a few functions by their values.
/// </summary>
internal sealed class ModuleTracer : IDisposable
{
    // What tells code of shapes and types, or people of numbers; all else that is no tensor, code may decide by.
    private static readonly HashSet<string> s_harmless = new(StringComparer.Ordinal) { "size", "dim", "ndimension", "numel", "stride", "storage_offset", "element_size", "result_type", "can_cast", "promote_types", "ToString", "str", "jlstr", "npstr", "cstr", "print" };

    private readonly nn.Module _module;
    private readonly List<TraceStep> _steps = [];
    private readonly TraceValues _values = new();
    private readonly List<Action> _removals = [];
    private int _depth;
    private SampleRows _rows = SampleRows.Normal;

    private ModuleTracer(nn.Module module) => _module = module;

    /// <summary>Traces a module on random rows.</summary>
    /// <param name="module">The module.</param>
    /// <param name="inputs">Its features.</param>
    /// <param name="rows">Rows that it takes; null: any.</param>
    /// <exception cref="UserModuleException">It does something that cannot be seen or written; names the first layer or place.</exception>
    public static ModuleTrace Trace(nn.Module module, int inputs, SampleRows? rows = null)
    {
        rows ??= SampleRows.Normal;
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        using var tracer = new ModuleTracer(module);
        module.eval();
        return tracer.Run(rows.Make(RowLayout.Rows, inputs, 2), rows);
    }

    public void Dispose()
    {
        _removals.ForEach(remove => remove());
        _values.Dispose();
    }

    private ModuleTrace Run(Tensor features, SampleRows rows)
    {
        _rows = rows;
        var root = _values.Keep(features, v => v with { Layout = new RowLayout(features.shape, 0) });
        var parts = rows.Row.Split(features);
        foreach (var (part, (input, start)) in parts.Zip(rows.Row.Places()))
            AddPart(root, part, input, start);
        foreach (var (name, tensor) in TraceWriter.NamedTensors(_module))
            _values.Keep(tensor, v => v with { Outside = new ParameterValue(name) });
        foreach (var layer in ModuleTensors.Layers(_module))
        {
            if (layer is nn.Module<Tensor, Tensor> one && (layer is IOnnxModule || KnownLayers.Of(layer) is not null))
                Watch(one);
            if (StepLayers.Watch(layer, Heard) is { } removal)
                _removals.Add(removal);
        }

        if (AssemblyLoadContext.GetLoadContext(_module.GetType().Assembly) is WatchedCode code)
        {
            code.Listener = Heard;
            _removals.Add(() => code.Listener = null);
        }

        try
        {
            var outputs = rows.Row.CallParts(_module, parts);
            var written = outputs.Select((output, i) => Written(output ?? throw new NotTracedException("puts out null"), rows.Row.HasColumns ? $"its output {i + 1}" : "its output", rowAxis: 0)).ToList();
            return new ModuleTrace(_steps, written) { Rows = rows };
        }
        catch (Exception e) when (e is not (UserModuleException or OutOfMemoryException))
        {
            throw Refusal(e is NotTracedException ? $"it {e.Message}" : $"its forward failed on {RowLayout.Rows} rows: {NotTracedException.Described(e)}");
        }
    }

    private void AddPart(TraceValue features, Tensor part, ModuleInput input, long start) =>
        Add(new Mapping([features], new RowLayout(part.shape, 0), (writer, inputs) =>
        {
            var numbers = writer.Slice(inputs[0], [1], [start], [start + input.Size], [1]);
            return input.KeyCount == 0 ? numbers : writer.Cast(numbers, ScalarType.Int64);
        }), part, $"input \"{input.Name}\"");

    private void Watch(nn.Module<Tensor, Tensor> layer)
    {
        var before = layer.register_forward_pre_hook((_, input) =>
        {
            // What is inside a module that writes itself is its own.
            _depth++;
            return input;
        });
        TraceValue? input = null;
        var look = layer.register_forward_pre_hook((_, x) =>
        {
            if (_depth == 1)
                input = layer is Embedding && _values.Outside(x) is not null ? null : Written(x, $"the input of layer {Shown(layer)}", rowAxis: null);
            return x;
        });
        var behind = layer.register_forward_hook((_, x, y) =>
        {
            if (--_depth > 0)
                return y;
            if (input is null)
                _values.Keep(y, v => v with { Outside = new LookedUpValue(new ParameterValue($"{Name(layer)}.weight"), _values.Outside(x)!) });
            else
                Add(layer, input, y);
            return y;
        });
        _removals.AddRange([before.remove, look.remove, behind.remove]);
    }

    private void Add(nn.Module<Tensor, Tensor> layer, TraceValue input, Tensor output)
    {
        var name = Name(layer);
        try
        {
            var layout = KnownLayers.Layout(layer, input.Layout!, output.shape);
            var number = output.dtype;
            var type = (TensorProto.Types.DataType)TracedFunctions.TypeOf(number);
            Add(new Mapping([input], layout, layer is IOnnxModule
                ? (writer, inputs) => writer.Own.Write(writer, writer.Layer(name), inputs[0], (type, layout.RowShape))
                : KnownLayers.IsElementwise(layer) ? (writer, inputs) => Comparisons.FromNumbers(writer, Known(writer, Comparisons.ToNumbers(writer, inputs[0], number)), number)
                : (writer, inputs) => Known(writer, inputs[0])), output, $"layer {Shown(layer)}");

            string Known(TraceWriter writer, string x) => ModuleTrace.WriteKnown(writer, writer.Layer(name), new LayerCall(writer, x, input.Layout!, layout));
        }
        catch (NotTracedException e)
        {
            throw Refusal($"layer {Shown(layer)} {e.Message}");
        }
    }

    private void Add(Mapping mapping, Tensor output, string place)
    {
        if (!mapping.Layout.IsWhole || !mapping.Layout.Shape.AsSpan().SequenceEqual(output.shape))
            throw new NotTracedException($"puts out [{string.Join(", ", output.shape)}] for {RowLayout.Rows} rows, expected the rows as a dimension");
        if (mapping.Inputs.FirstOrDefault(i => i.Refusal is not null) is { Refusal: { } refusal })
            throw Refusal(refusal);
        var number = _values.Keep(output, v => v with { Layout = mapping.Layout }).Number;
        _steps.Add(new TraceStep([.. mapping.Inputs.Select(i => i.Number)], number, place, mapping.Write));
    }

    // A value that is no tensor of the module's: what several results come of.
    private int AddHidden(int[] inputs, string place, Func<TraceWriter, string[], string> write)
    {
        var number = _values.NewNumber();
        _steps.Add(new TraceStep(inputs, number, place, write));
        return number;
    }

    private void Heard(MethodBase method, string caller, object?[] arguments, object? result)
    {
        if (_depth > 0)
            return;
        var given = arguments.SelectMany(OutsideValue.Tensors).Where(t => t is not null).Select(t => (Tensor: t, Value: _values.Known(t))).ToList();
        var outputs = OutsideValue.Tensors(result).Where(t => t is not null).ToArray();
        var place = arguments is [nn.Module, ..] ? Shown(method, arguments) : $"{Shown(method, arguments)}, called in {caller},";
        var ofRows = given.Where(g => g.Value is { Layout: not null } or { Refusal: not null }).Select(g => g.Value!).ToList();
        if (ofRows.Count == 0)
        {
            if (given.Exists(g => g.Value?.Outside is not null and not FixedValue))
                KeepComputed(method, arguments, outputs, place);
            return;
        }

        if (outputs.Length == 0 && result is not null && Reads(method) && arguments is not [nn.Module, ..])
            throw Refusal($"{place} reads a row's numbers, and a graph decides nothing by them");
        var changed = outputs.Length == 0 && method.Name == "set_Item" ? [(Tensor)arguments[0]!] : outputs;
        var isInPlace = method.Name.EndsWith('_') || Array.Exists(method.GetParameters(), p => p.Name == "inplace") && arguments.Contains(true);
        foreach (var (i, output) in changed.Index())
        {
            if (outputs.Length > 0 && !isInPlace && _values.Known(output) is not null)
                continue;
            var why = ofRows.FirstOrDefault(v => v.Refusal is not null)?.Refusal;
            try
            {
                if (why is null && StepLayers.IsOne(arguments[0]))
                {
                    Steps(method, arguments, outputs);
                    return;
                }

                if (why is null && outputs.Length > 0 && (i == 0 || result is not System.Runtime.CompilerServices.ITuple)
                    && TracedFunctions.Of(new FunctionCall(method, arguments, output, _values.KnownOrFixed)) is { } mapping)
                {
                    Add(mapping, output, place);
                    continue;
                }

                why ??= $"{place} maps to no operator";
            }
            catch (Exception e) when (e is not (UserModuleException or OutOfMemoryException))
            {
                why = $"{place} {NotTracedException.Described(e)}";
            }

            // It may never be used.
            _values.Keep(output, v => v with { Refusal = why });
        }
    }

    private static bool Reads(MethodBase method) => !s_harmless.Contains(method.Name)
        && (method.Name is "get_bytes" or "is_nonzero" || !(method.Name.StartsWith("get_", StringComparison.Ordinal) || method.Name.StartsWith("is_", StringComparison.Ordinal)));

    private void Steps(MethodBase method, object?[] arguments, Tensor[] outputs)
    {
        var layer = (nn.Module)arguments[0]!;
        var (name, place) = (Name(layer), $"layer {Shown(layer)}");
        var results = StepLayers.Of(new StepCall(layer, name, method, arguments, outputs, _values.KnownOrFixed, (inputs, write) => AddHidden(inputs, place, write)));
        foreach (var (output, (mapping, why)) in outputs.Zip(results))
        {
            if (mapping is not null)
                Add(mapping, output, place);
            else
                _values.Keep(output, v => v with { Refusal = $"{place}: {why}" });
        }
    }

    private void KeepComputed(MethodBase method, object?[] arguments, Tensor[] outputs, string place)
    {
        if (method.DeclaringType!.IsAssignableTo(typeof(nn.Module)))
            return;
        var given = Array.ConvertAll(arguments, a => a switch
        {
            Tensor tensor => _values.Outside(tensor) ?? TraceValues.Fixed(tensor).Outside,
            IEnumerable<Tensor> tensors => tensors.Select(t => _values.Outside(t) ?? TraceValues.Fixed(t).Outside!).ToArray(),
            _ => a,
        });
        var callable = ComputedValue.Callable(method, given);
        foreach (var (i, output) in outputs.Index())
            if (method.Name.EndsWith('_') || _values.Known(output) is null)
                _values.Keep(output, v => callable is not null ? v with { Outside = new ComputedValue(callable, given, i) }
                    : v with { Refusal = $"{place} takes parameters in a way that cannot be computed again, expected single tensors, or an array of them" });
    }

    /// <summary>A tensor as a value of rows, with rows as a dimension (null: any).</summary>
    private TraceValue Written(Tensor tensor, string what, int? rowAxis)
    {
        var value = _values.Known(tensor) ?? Unseen(tensor);
        if (value?.Refusal is { } refusal)
            throw Refusal(refusal);
        if (value?.Layout is null)
            value = ForEachRow(tensor, value?.Outside ?? new FixedValue(tensor));
        if (value?.Layout is not { } layout || (rowAxis is { } axis && layout.RowAxis != axis))
            throw Refusal(Unknown(what, tensor));
        return value;
    }

    // Of code that is not watched.
    private TraceValue? Unseen(Tensor tensor)
    {
        if (tensor.dtype != ScalarType.Float32)
            return null;
        if (_values.InMemoryOf(tensor) is { } memory)
        {
            try
            {
                Add(Parts.Reshape(memory, tensor), tensor, "code that is not seen");
                return _values.Known(tensor);
            }
            catch (NotTracedException)
            {
                return null;
            }
        }

        // Between 0 and a table's size many functions are the same.
        if (_rows.Limit is not null)
            return null;
        var seen = _values.OfRows();
        foreach (var (inputs, write) in ValueRecognition.Find(tensor, seen))
        {
            Add(new Mapping([.. inputs.Select(i => seen.First(v => v.Number == i))], new RowLayout(tensor.shape, 0), write), tensor, "code that is not seen");
            return _values.Known(tensor);
        }

        return null;
    }

    private TraceValue? ForEachRow(Tensor tensor, OutsideValue outside)
    {
        for (var axis = 0; axis < tensor.dim(); axis++)
        {
            if (tensor.dtype != ScalarType.Float32 || tensor.shape[axis] != RowLayout.Rows || !tensor.sub(tensor.narrow(axis, 0, 1)).abs().max().eq(0).ToBoolean())
                continue;
            var layout = new RowLayout(tensor.shape, axis);
            Add(new Mapping([], layout, (writer, _) => writer.ForEachRow(outside, layout)), tensor, $"the constant [{string.Join(", ", tensor.shape)}]");
            return _values.Known(tensor);
        }

        return null;
    }

    private string Unknown(string what, Tensor tensor)
    {
        var unknown = ModuleTensors.Layers(_module).Skip(1).FirstOrDefault(l => l is not IOnnxModule && KnownLayers.Of(l) is null && !StepLayers.IsOne(l) && !KnownLayers.IsContainer(l) && l.GetType().Assembly == typeof(torch).Assembly);
        return unknown is not null ? $"layer {Shown(unknown)} maps to no operator" : $"{what}, [{string.Join(", ", tensor.shape)}], comes from code that is not seen";
    }

    private UserModuleException Refusal(string why) =>
        new($"Module \"{ModuleTensors.NameOf(_module)}\" cannot be written as ONNX: {why}. Use layers that map, called by call, or have the module, or a part of it, implement IOnnxModule: docs/own-modules.md lists both.");

    private string Shown(MethodBase method, object?[] arguments) => arguments is [nn.Module layer, ..] ? $"layer {Shown(layer)}"
        : method.Name.StartsWith("op_", StringComparison.Ordinal) ? $"operator {method.Name[3..]}" : $"{method.DeclaringType!.Name}.{method.Name}";

    private string Shown(nn.Module layer) => $"\"{Name(layer)}\" ({layer.GetType().Name})";

    private string Name(nn.Module layer) => ModuleTensors.NameOf(_module, layer);
}
