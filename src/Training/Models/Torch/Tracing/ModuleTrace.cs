using Microsoft.ML.Distributed;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>What a module computes, as ONNX can say it: of any instance of it, as layers are known by their names.</summary>
internal sealed class ModuleTrace
{
    private const double Tolerance = 1e-5;
    private const double LooseTolerance = 1e-3;
    private const int StepsOfTolerance = 10;

    // The first are compared closely; the others show a function that was taken for another where values are large.
    private static readonly float[] s_scales = [1, 1, 1, 1, 10, 100];

    private readonly TraceStep[] _steps;
    private readonly (int Number, int Size)[] _outputs;

    /// <param name="steps">What it was seen to do.</param>
    /// <param name="outputs">What it puts out.</param>
    public ModuleTrace(IEnumerable<TraceStep> steps, IEnumerable<TraceValue> outputs)
        : this(steps, outputs.Select(o => (o.Number, (int)RowLayout.Product(o.Layout!.RowShape))))
    {
    }

    /// <param name="steps">What it is known to do.</param>
    /// <param name="outputs">The numbers of what it puts out, and how many these are of a row.</param>
    public ModuleTrace(IEnumerable<TraceStep> steps, IEnumerable<(int Number, int Size)> outputs) => (_steps, _outputs) = ([.. steps], [.. outputs]);

    /// <summary>What is to be done where the graph is not the module's; null: what its code can do.</summary>
    public string? Remedy { get; init; }

    /// <summary>Rows that the module takes.</summary>
    public SampleRows Rows { get; init; } = SampleRows.Normal;

    /// <summary>The model.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="module">The module.</param>
    /// <param name="tensors">Its tensors.</param>
    /// <param name="values">Those of the job, by their names.</param>
    /// <exception cref="UserModuleException">A layer cannot be written; names it.</exception>
    public ModelProto Write(JobSpec spec, nn.Module module, ModuleTensors tensors, IReadOnlyDictionary<string, float[]> values) => Write(spec, module, tensors, values, new OwnGraphs());

    private ModelProto Write(JobSpec spec, nn.Module module, ModuleTensors tensors, IReadOnlyDictionary<string, float[]> values, OwnGraphs own)
    {
        var named = TraceWriter.Named(values);
        var graph = new OnnxGraph(named);
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        return Rows.Row.HasColumns
            ? OnnxFrame.BuildColumns(spec, graph, "module", input => Outputs(input).Zip(_outputs, (name, output) => (name, output.Size)))
            : OnnxFrame.Build(spec, graph, "module", (input, outputName) => graph.Node("Identity", Outputs(input), outputName));

        IEnumerable<string> Outputs(string input)
        {
            var writer = new TraceWriter(graph, module, tensors, named) { Input = input, Own = own };
            var names = new Dictionary<int, string> { [0] = input };
            foreach (var step in Needed())
                names[step.Output] = Write(step, writer, [.. step.Inputs.Select(i => names[i])]);
            return Array.ConvertAll(_outputs, output => names[output.Number]);
        }
    }

    private string Write(TraceStep step, TraceWriter writer, string[] inputs)
    {
        try
        {
            return step.Write(writer, inputs);
        }
        catch (Exception e) when (e is not (UserModuleException or OutOfMemoryException))
        {
            throw new UserModuleException($"Module \"{ModuleTensors.NameOf(writer.Module)}\" cannot be written as ONNX: {step.Place} {NotTracedException.Described(e)}. {Remedy ?? "Use layers and functions that map, or have the module, or a part of it, implement IOnnxModule: docs/own-modules.md lists both."}", inner: e);
        }
    }

    // What the output comes of.
    private IEnumerable<TraceStep> Needed()
    {
        var needed = _outputs.Select(o => o.Number).ToHashSet();
        foreach (var step in _steps.Reverse().Where(s => needed.Contains(s.Output)))
            needed.UnionWith(step.Inputs);
        return _steps.Where(s => needed.Contains(s.Output));
    }

    /// <summary>Compares the graph with the module on random rows, with random parameters and statistics, which are put back.</summary>
    /// <exception cref="UserModuleException">They differ, or a layer cannot be written.</exception>
    public void Check(nn.Module module, ModuleTensors tensors, TorchModuleSpec torch)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var kept = tensors.Trained.Select(t => (Tensor)t.Parameter).Concat(tensors.Buffers.Select(b => b.Buffer)).Select(t => (Tensor: t, Copy: t.clone())).ToList();
        try
        {
            foreach (var (_, parameter) in tensors.Trained)
                parameter.add_(randn_like(parameter).mul_(0.05f));
            foreach (var norm in tensors.BatchNorms)
            {
                norm.running_mean!.normal_(0, 0.5);
                norm.running_var!.uniform_(0.5, 1.5);
            }

            Compare(module, tensors, torch);
        }
        finally
        {
            foreach (var (tensor, copy) in kept)
                tensor.copy_(copy);
        }
    }

    private void Compare(nn.Module module, ModuleTensors tensors, TorchModuleSpec torch)
    {
        var values = tensors.Trained.Select(t => (t.Name, (Tensor)t.Parameter)).Concat(tensors.Buffers).ToDictionary(t => t.Item1, t => t.Item2.contiguous().data<float>().ToArray(), StringComparer.Ordinal);
        // The module alone: no scaling, no softmax.
        var bare = new JobSpec { Task = Rows.Row.HasColumns ? MlTask.Own : MlTask.Regression, Module = new ModuleSpec { Torch = torch } };
        var own = new OwnGraphs();
        var program = Program(module, Write(bare, module, tensors, values, own), bare, own);
        var (run, inputs, outputs) = (program.CreateRunner(), program.InputSize, program.OutputSize);
        module.eval();
        var features = cat([.. s_scales.Select(scale => Rows.Make(1, torch.InputSize, scale))]);
        var (rows, expected) = (features.data<float>().ToArray(), Rows.Row.Call(module, features).contiguous().data<float>().ToArray());
        var got = new float[outputs];
        if (!expected.Any(float.IsFinite))
            throw new UserModuleException($"Module \"{ModuleTensors.NameOf(module)}\" puts out no finite number on random rows, so that its ONNX graph cannot be compared with it, expected some. {Remedy ?? "Look at what it hides or divides by, as a mask that is always all true."}");
        for (var r = 0; r < s_scales.Length; r++)
        {
            run(rows.AsSpan(r * torch.InputSize, inputs), got);
            var right = expected.AsSpan(r * outputs, outputs);
            var largest = Math.Max(1, Largest(right));
            var limit = (s_scales[r] == 1 ? Tolerance * Math.Max(1, (double)_steps.Length / StepsOfTolerance) : LooseTolerance) * largest;
            for (var i = 0; i < outputs; i++)
                if (float.IsFinite(right[i]) && !(Math.Abs(got[i] - right[i]) <= limit))
                    throw new UserModuleException($"Module \"{ModuleTensors.NameOf(module)}\" puts out {right[i]:G7} where its ONNX graph has {got[i]:G7}, on random rows, expected the same to {limit:G2}. {Remedy ?? "Use layers in the place of functions between them, without working in place, or correct its ToOnnx."}");
        }
    }

    private OnnxProgram Program(nn.Module module, ModelProto model, JobSpec spec, OwnGraphs own)
    {
        try
        {
            own.Check(ModuleTensors.NameOf(module), model, spec, Remedy);
            return OnnxProgram.Of(model, spec);
        }
        catch (FormatException e)
        {
            throw new UserModuleException($"Module \"{ModuleTensors.NameOf(module)}\" has an ONNX graph that cannot be scored: {e.Message} {Remedy ?? "Correct its ToOnnx, or use other layers."}");
        }
    }

    private static float Largest(ReadOnlySpan<float> values)
    {
        var largest = 0f;
        foreach (var value in values)
            largest = float.IsFinite(value) ? MathF.Max(largest, MathF.Abs(value)) : largest;
        return largest;
    }

    /// <summary>Writes a layer that maps.</summary>
    public static string WriteKnown(TraceWriter writer, nn.Module layer, LayerCall call)
    {
        try
        {
            return KnownLayers.Of(layer)!(call);
        }
        catch (Exception e) when (e is NotSupportedException or NotTracedException)
        {
            throw new UserModuleException($"Module \"{ModuleTensors.NameOf(writer.Module)}\" cannot be written as ONNX: layer \"{ModuleTensors.NameOf(writer.Module, layer)}\" ({layer.GetType().Name}) {e.Message}. Use it as expected, or have the module implement IOnnxModule.");
        }
    }
}
