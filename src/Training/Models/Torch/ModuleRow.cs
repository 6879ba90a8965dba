using System.Collections.Concurrent;
using System.Reflection;
using Microsoft.ML.Distributed;
using MLDistributed.Protocol;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// What a row is to a module: its features as one tensor, or as a record of named ones, each of a part of the row; behind these, of a module whose
/// outputs are columns, the labels that its loss takes. Such outputs are one tensor in a job, [rows, outputs], with the labels behind them.
/// </summary>
/// <param name="inputs">The parts that go in; none: all features are one tensor.</param>
/// <param name="labels">Those of its labels; none: the task's.</param>
/// <param name="outputs">Names of what it puts out; none: one tensor.</param>
internal sealed class ModuleRow(IReadOnlyList<ModuleInput> inputs, IReadOnlyList<ModuleInput> labels, IReadOnlyList<string> outputs)
{
    public static readonly ModuleRow One = new([], [], []);

    private static readonly MethodInfo s_call = typeof(ModuleRow).GetMethod(nameof(CallTyped), BindingFlags.NonPublic | BindingFlags.Static)!;
    private static readonly MethodInfo s_hear = typeof(ModuleRow).GetMethod(nameof(HearTyped), BindingFlags.NonPublic | BindingFlags.Static)!;
    private readonly ConcurrentDictionary<Type, Signature> _signatures = []; // a source's ranks may share it
    private int[]? _sizes;

    public ModuleRow(TorchModuleSpec spec)
        : this(spec.Inputs, spec.Labels, [.. spec.Outputs.Select(o => o.Name)])
    {
    }

    public IReadOnlyList<ModuleInput> Inputs => inputs;

    /// <summary>Whether the outputs are columns.</summary>
    public bool HasColumns => outputs.Count > 0;

    /// <summary>What is wrong with a module's type; null: nothing.</summary>
    public string? Refusal(Type module)
    {
        var (taken, returned) = Types(module);
        if (taken is null || returned is null || (inputs.Count == 0 && taken != typeof(Tensor)) || (!HasColumns && returned != typeof(Tensor)))
            return $"is no nn.Module<{(inputs.Count == 0 ? "Tensor" : "TInputs")}, {(HasColumns ? "TOutputs" : "Tensor")}>";
        if (TensorRecord.Of(taken, [.. inputs.Select(i => i.Name)]) is null)
            return $"takes a {taken.Name} without a public constructor of the tensors {string.Join(", ", inputs.Select(i => i.Name))}";
        if (TensorRecord.Of(returned, outputs) is null)
            return $"returns a {returned.Name} without a public constructor and properties of the tensors {string.Join(", ", outputs)}";
        if (!HasColumns)
            return null;
        return LabelsType(module) is not { } loss ? $"has no Loss of its outputs: it is no IModuleLoss<{returned.Name}, TLabels>"
            : TensorRecord.Of(loss, [.. labels.Select(l => l.Name)]) is null ? $"has a Loss of a {loss.Name} without a public constructor of the tensors {string.Join(", ", labels.Select(l => l.Name))}"
            : null;
    }

    /// <summary>The interfaces by which a module of a type that is not refused can say of its training.</summary>
    public ContractTypes Contract(Type module) => Types(module) is var (taken, returned) ? ContractTypes.Of(taken!, returned!, HasColumns ? LabelsType(module) : null) : null!;

    // Of the loss over what the module returns.
    private static Type? LabelsType(Type module) =>
        Array.Find(module.GetInterfaces(), i => i.IsGenericType && i.GetGenericTypeDefinition() == typeof(IModuleLoss<,>) && i.GetGenericArguments()[0] == Types(module).Outputs)?.GetGenericArguments()[1];

    /// <summary>Has a module compute.</summary>
    /// <param name="module">The module.</param>
    /// <param name="features">[rows, features].</param>
    /// <returns>Its output, or all of them one behind the other, [rows, outputs].</returns>
    public Tensor Call(nn.Module module, Tensor features) => Joined(module, CallParts(module, Split(features)), features.shape[0]);

    /// <summary>The same, with the rows' labels behind the outputs where these are columns: what losses and metrics take.</summary>
    public Tensor CallLabelled(nn.Module module, Tensor features) => WithLabels(Call(module, features), features);

    /// <summary>Outputs with the labels that are in features behind them.</summary>
    public Tensor WithLabels(Tensor outputs, Tensor features) => HasColumns ? cat([outputs, features.narrow(1, InputSize, LabelSize)], 1) : outputs;

    /// <summary>Has a module compute with what <see cref="Split"/> has made.</summary>
    /// <returns>Its outputs.</returns>
    public Tensor?[] CallParts(nn.Module module, Tensor[] parts)
    {
        var signature = SignatureOf(module);
        return signature.Outputs.Read(signature.Call(module, signature.Inputs.Make(parts)));
    }

    /// <summary>Tells what each call of a module puts out, as <see cref="Call"/> has it; what is no such thing is null.</summary>
    public void Hear(nn.Module module, Action<Tensor?> heard)
    {
        var signature = SignatureOf(module);
        signature.Hear(module, output =>
        {
            var parts = signature.Outputs.Read(output);
            var rows = parts[0]?.shape is [var first, ..] ? first : 0;
            using var frozen = no_grad();
            heard(!HasColumns ? parts[0] : Array.TrueForAll(parts, p => p?.dim() == 2 && p.shape[0] == rows) ? cat(parts!, 1) : null);
        });
    }

    /// <summary>The module's tensors of some rows: [rows, size] each, numbers as Float32, ids as Int64.</summary>
    public Tensor[] Split(Tensor features) => inputs.Count == 0 ? [features] : Parts(features, Places());

    /// <summary>What a module's loss takes: the object of its inputs, of outputs with labels behind them, or of these labels.</summary>
    public object InputsOf(nn.Module module, Tensor features) => SignatureOf(module).Inputs.Make(Split(features));

    /// <summary>The object of outputs that <see cref="CallLabelled"/> returns.</summary>
    public object OutputsOf(nn.Module module, Tensor labelled)
    {
        var parts = new Tensor[outputs.Count];
        var start = 0;
        for (var i = 0; i < parts.Length; i++)
        {
            parts[i] = labelled.narrow(1, start, _sizes![i]);
            start += _sizes[i];
        }

        return SignatureOf(module).Outputs.Make(parts);
    }

    /// <summary>The object of labels that are the last numbers of rows.</summary>
    public object LabelsOf(nn.Module module, Tensor labelled)
    {
        var start = (int)labelled.shape[1] - LabelSize;
        return TensorRecord.Of(LabelsType(module.GetType())!, [.. labels.Select(l => l.Name)])!.Make(Parts(labelled, ModuleInput.Places(labels).Select(p => (p.Input, p.Start + start))));
    }

    /// <summary>A row that counts nowhere, for a rank that has none.</summary>
    public Tensor StandIn(Tensor features)
    {
        var row = zeros([1, features.shape[1]], device: features.device);
        // No loss need know what to do with a missing key.
        foreach (var (label, start) in LabelPlaces().Where(p => p.Label.KeyCount > 0))
            row.narrow(1, start, label.Size).fill_(1);
        return row;
    }

    /// <summary>The parts that go in, and where each begins.</summary>
    public IEnumerable<(ModuleInput Input, int Start)> Places() => ModuleInput.Places(inputs);

    /// <summary>Those of labels.</summary>
    public IEnumerable<(ModuleInput Label, int Start)> LabelPlaces() => ModuleInput.Places(labels).Select(p => (p.Input, p.Start + InputSize));

    private int InputSize => inputs.Sum(i => i.Size);

    private int LabelSize => labels.Sum(l => l.Size);

    private static Tensor[] Parts(Tensor rows, IEnumerable<(ModuleInput Input, int Start)> places) => [.. places.Select(p =>
    {
        var part = rows.narrow(1, p.Start, p.Input.Size);
        return p.Input.KeyCount > 0 ? part.to(ScalarType.Int64) : part.contiguous();
    })];

    // Sizes are those of the first call: columns have one.
    private Tensor Joined(nn.Module module, Tensor?[] parts, long rows)
    {
        if (!HasColumns)
            return parts[0]!;
        foreach (var (i, part) in parts.Index())
            if (part is null || part.dtype != ScalarType.Float32 || part.shape is not [var count, var size and > 0] || count != rows || (_sizes is not null && size != _sizes[i]))
                throw new UserModuleException($"Module \"{module.GetType().Name}\" put out {(part is null ? "null" : $"[{string.Join(", ", part.shape)}] of {part.dtype}")} as \"{outputs[i]}\" for {rows} rows, expected [{rows}, {_sizes?[i].ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "size"}] of Float32: a column of as many numbers in each row.");
        _sizes ??= Array.ConvertAll(parts, p => (int)p!.shape[1]);
        return cat(parts!, 1);
    }

    private Signature SignatureOf(nn.Module module) => _signatures.GetOrAdd(module.GetType(), type =>
    {
        var (taken, returned) = Types(type);
        return new Signature(
            TensorRecord.Of(taken!, [.. inputs.Select(i => i.Name)])!,
            TensorRecord.Of(returned!, outputs)!,
            s_call.MakeGenericMethod(taken!, returned!).CreateDelegate<Func<nn.Module, object, object?>>(),
            s_hear.MakeGenericMethod(taken!, returned!).CreateDelegate<Action<nn.Module, Action<object?>>>());
    });

    private static (Type? Inputs, Type? Outputs) Types(Type? module)
    {
        for (; module is not null; module = module.BaseType)
            if (module.IsGenericType && module.GetGenericTypeDefinition() == typeof(nn.Module<,>))
                return (module.GetGenericArguments()[0], module.GetGenericArguments()[1]);
        return (null, null);
    }

    private static object? CallTyped<TInputs, TOutputs>(nn.Module module, object inputs) => ((nn.Module<TInputs, TOutputs>)module).call((TInputs)inputs);

    private static void HearTyped<TInputs, TOutputs>(nn.Module module, Action<object?> heard) => ((nn.Module<TInputs, TOutputs>)module).register_forward_hook((_, _, output) =>
    {
        heard(output);
        return output;
    });

    private sealed record Signature(TensorRecord Inputs, TensorRecord Outputs, Func<nn.Module, object, object?> Call, Action<nn.Module, Action<object?>> Hear);
}
