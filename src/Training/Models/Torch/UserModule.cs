using System.Reflection;
using System.Text.Json;
using Microsoft.ML.Distributed;
using MLDistributed.Protocol;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A module of a user's own: made from the code that its job brings, and tried before the training starts.</summary>
internal static class UserModule
{
    private const int Rows = 2;

    /// <summary>What the job trains. Rank 0 finds out what it computes, by another instance, whose state is not the training's.</summary>
    /// <exception cref="UserModuleException">The module throws, is not what a job can train, or cannot be written as ONNX.</exception>
    /// <exception cref="FormatException">The code is not what a client packs.</exception>
    public static TorchModuleSource Open(RankStart start)
    {
        // Here too: what is being constructed or called must not be finalised meanwhile.
        using var pause = new CollectionPause();
        var spec = start.Spec.Module.Torch;
        var files = ReadCode(start);
        var row = new ModuleRow(spec);
        var type = spec.IsScript ? typeof(ScriptNet) : Find(new ModuleCode(files), spec, row);
        var source = new TorchModuleSource(Instance, start.Spec.Seed) { Row = row, OutputSize = row.HasColumns ? null : spec.OutputSize };
        CheckLayout(source, start.Spec);
        if (start.StartingWeightsPath.Length > 0)
            ModuleStart.Read(source, start.StartingWeightsPath);
        // What its metrics are called, all ranks have to know.
        if (start.Rank > 0 && !new ModuleContract(source.Module, row).HasMetrics)
            return source;
        var trial = new TorchModuleSource(Instance, start.Spec.Seed) { Row = row };
        using (trial.Module)
        {
            var rows = Try(trial, spec);
            source.OwnMetrics = ModuleTrial.Run(trial, start, rows);
            if (start.Rank > 0)
                return source;
            if (trial.Module is ScriptNet script)
            {
                source.Trace = ScriptGraph.Read(script, files.GetValueOrDefault(TorchScript.Onnx, []), spec.OutputSize, rows);
                source.Trace.Check(script, trial.Tensors, spec);
                return source;
            }

            // Again, of code that tells what it calls. When the model is written that instance is gone: so it is here before they are compared.
            var watched = Find(new WatchedCode(files), spec, row);
            var traced = new TorchModuleSource(() => Make(watched, spec), start.Spec.Seed);
            using (traced.Module)
                source.Trace = ModuleTracer.Trace(traced.Module, spec.InputSize, rows);
            source.Trace.Check(trial.Module, trial.Tensors, spec);
        }

        return source;

        nn.Module Instance() => spec.IsScript ? ScriptNet.Load(files.GetValueOrDefault(TorchScript.File, []), spec.Type) : Make(type, spec);
    }

    private static IReadOnlyDictionary<string, byte[]> ReadCode(RankStart start)
    {
        if (new FileInfo(start.CodePath) is { Length: > CodePackage.MaxBytes } file)
            throw new FormatException($"The code package has {file.Length:N0} bytes, expected at most {CodePackage.MaxBytes:N0}.");
        return CodePackage.Read(File.ReadAllBytes(start.CodePath));
    }

    private static Type Find(ModuleCode code, TorchModuleSpec spec, ModuleRow row)
    {
        try
        {
            var type = code.LoadFromAssemblyName(new AssemblyName(spec.Assembly)).GetType(spec.Type, throwOnError: true)!;
            return row.Refusal(type) is not { } refusal ? type
                : throw new UserModuleException($"Type \"{spec.Type}\" {refusal} of TorchSharp {typeof(torch).Assembly.GetName().Version?.ToString(3)}, expected one. Build it against that release.");
        }
        catch (Exception e) when (e is IOException or BadImageFormatException or TypeLoadException or ArgumentException or ReflectionTypeLoadException)
        {
            throw Failed(spec, "could not be loaded", e);
        }
    }

    private static nn.Module Make(Type type, TorchModuleSpec spec)
    {
        try
        {
            if (spec.OptionsType.Length == 0)
                return (nn.Module)Activator.CreateInstance(type)!;
            var constructor = type.GetConstructors().First(c => c.GetParameters() is [var only] && only.ParameterType.FullName == spec.OptionsType);
            return (nn.Module)constructor.Invoke([ModuleOptions.Read(spec.Options, constructor.GetParameters()[0].ParameterType)]);
        }
        catch (TargetInvocationException e) when (e.InnerException is { } thrown)
        {
            throw Failed(spec, "failed in its constructor", thrown);
        }
        catch (Exception e) when (e is MissingMethodException or InvalidOperationException or MemberAccessException or JsonException or NotSupportedException or IOException or TypeLoadException)
        {
            throw Failed(spec, "could not be constructed", e);
        }
    }

    private static UserModuleException Failed(TorchModuleSpec spec, string what, Exception thrown)
    {
        var missing = thrown as FileNotFoundException ?? (thrown as TypeInitializationException)?.InnerException as FileNotFoundException;
        return new UserModuleException(
            missing?.FileName is { Length: > 0 } file
                ? $"Module \"{spec.Type}\" {what}: it needs \"{file.Split(',')[0]}\", which did not travel with it, expected an assembly that it references and that lies beside the app. ML.NET's assemblies and native libraries are left out."
                : $"Module \"{spec.Type}\" {what}: {thrown.GetType().Name}: {NativeMessage.FirstSentence(thrown.Message)}",
            inner: thrown);
    }

    /// <summary>Looks whether a job can train it.</summary>
    /// <exception cref="UserModuleException">It cannot.</exception>
    public static void CheckLayout(TorchModuleSource source, JobSpec spec)
    {
        var (name, type, count) = (ModuleTensors.NameOf(source.Module), source.Module.GetType(), source.Layout.ParameterLength);
        if (count == 0)
            throw new UserModuleException(source.Module.named_parameters().Any()
                ? $"Module \"{name}\" has no parameters to train: all of its are frozen, by requires_grad_(false) or by a group, expected some that are not. Leave its head, or a later layer, trainable."
                : $"Module \"{name}\" has no parameters to train, expected some. {(type == typeof(ScriptNet) ? "Numbers that are no nn.Parameter are constants" : "Register its layers: call RegisterComponents() at the end of its constructor")}.");
        if (count + source.Layout.BufferLength > TorchKind.MaxParameters)
            throw new UserModuleException($"Module \"{name}\" has {count:N0} parameters, expected at most {TorchKind.MaxParameters:N0}. Make its layers smaller.");
        if (source.Module is IModuleLoss && (spec.Loss is not null || spec.LabelSmoothing > 0))
            throw new UserModuleException($"{(spec.Loss is { } loss ? $"The trainer's loss is {loss.LossCase}" : $"LabelSmoothing is {spec.LabelSmoothing}")} beside the loss of module \"{name}\", expected that of the module alone. Leave the option out.");
        if (source.Row.Contract(type).Misfit(type) is { } misfit)
            throw new UserModuleException($"Module \"{name}\" is an {ContractTypes.Shown(misfit.Has)}, expected {ContractTypes.Shown(misfit.Fits)}, which fits what its forward takes and returns.");
        if (source.JoinsRows && spec.MaxMicroBatchSize > 0)
            throw new UserModuleException($"MaxMicroBatchSize is {spec.MaxMicroBatchSize} beside batch normalisation in module \"{name}\", expected 0: the statistics are those of a whole batch. Use layer normalisation.");
        if (source.JoinsRows && spec.Optimizer.AveragingDecay > 0)
            throw new UserModuleException($"WeightAveraging is on beside batch normalisation in module \"{name}\", expected null: its running statistics are those of the weights that are not averaged. Use layer normalisation.");
        if (source.JoinsRows && spec.BitExact is not null)
            throw new UserModuleException($"Module \"{name}\" has batch normalisation beside Reproducibility.BitExact, expected none: the statistics of a batch would join its parts in each layer. Use layer normalisation.");
    }

    // Wrong shapes, and forwards that throw, before data is read.
    private static SampleRows Try(TorchModuleSource trial, TorchModuleSpec spec)
    {
        var kinds = Array.ConvertAll(SampleRows.Kinds, k => k with { Row = trial.Row });
        var kind = 0;
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var before = trial.Tensors.Buffers.Select(b => b.Buffer.clone()).ToList();
        foreach (var isTraining in (bool[])[true, false])
        {
            trial.Module.train(isTraining);
            foreach (var norm in trial.Tensors.BatchNorms)
                norm.eval();
            Tensor outputs;
            while (true)
            {
                try
                {
                    outputs = trial.Row.Call(trial.Module, kinds[kind].Make(Rows, spec.InputSize));
                    break;
                }
                catch (Exception e) when (SampleRows.IsOutside(e) && kind < kinds.Length - 1)
                {
                    kind++; // its tables are smaller
                }
                catch (Exception e) when (SampleRows.IsOutside(e) && trial.Row.Inputs.Where(i => i.KeyCount > 0).ToList() is { Count: > 0 } ids)
                {
                    throw new UserModuleException($"Module \"{spec.Type}\" has a table without a row for each id, expected as many as its column has keys and one more, for a missing one (0): {string.Join(", ", ids.Select(i => $"{i.KeyCount + 1:N0} for \"{i.Name}\""))}.", inner: e);
                }
                catch (Exception e) when (e is not (OutOfMemoryException or UserModuleException))
                {
                    throw Failed(spec, "failed in its forward", e);
                }
            }

            if (!trial.Row.HasColumns && TorchModule.Refusal(trial.Module, outputs, Rows, spec.OutputSize) is { } refusal)
                throw new UserModuleException(refusal);
        }

        foreach (var ((name, buffer), old) in trial.Tensors.Buffers.Zip(before))
            if (!buffer.equal(old).all().ToBoolean())
                throw new UserModuleException($"Buffer \"{name}\" of module \"{ModuleTensors.NameOf(trial.Module)}\" changes in forward, expected that of batch normalisation alone to: others are not joined over ranks. {(trial.Module is ScriptNet ? "Call eval() of its normalisations and write it by torch.jit.trace, which keeps their statistics as they are, or use layers without any" : "Make it a constant")}.");
        var now = new ModuleTensors(trial.Module); // throws where a parameter's type was changed
        if (!now.Trained.Select(t => t.Parameter).SequenceEqual(trial.Tensors.Trained.Select(t => t.Parameter), ReferenceEqualityComparer.Instance))
            throw new UserModuleException($"Module \"{ModuleTensors.NameOf(trial.Module)}\" replaces parameters in its forward, expected the same ones as after its constructor.");
        return kinds[kind];
    }
}
