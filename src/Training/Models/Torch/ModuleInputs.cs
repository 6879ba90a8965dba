using System.Reflection;
using MLDistributed.Protocol;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>How a row's features go into a module: as one tensor, or as a record of named ones, each of a part of the row.</summary>
/// <param name="named">The parts; none: all features are one tensor.</param>
internal sealed class ModuleInputs(IReadOnlyList<ModuleInput> named)
{
    public static readonly ModuleInputs One = new([]);

    private static readonly MethodInfo s_callNamed = typeof(ModuleInputs).GetMethod(nameof(CallNamed), BindingFlags.NonPublic | BindingFlags.Static)!;
    private readonly Dictionary<Type, Func<nn.Module, Tensor[], Tensor>> _calls = [];

    public IReadOnlyList<ModuleInput> Named => named;

    /// <summary>What is wrong with a module's type; null: nothing.</summary>
    public string? Refusal(Type module)
    {
        if (named.Count == 0)
            return typeof(nn.Module<Tensor, Tensor>).IsAssignableFrom(module) ? null : "is no nn.Module<Tensor, Tensor>";
        if (Record(module) is not { } record)
            return "is no nn.Module<TInputs, Tensor>";
        return Constructor(record) is not null ? null
            : $"takes a {record.Name} without a public constructor of the tensors {string.Join(", ", named.Select(i => i.Name))}";
    }

    /// <summary>Has a module compute.</summary>
    /// <param name="module">The module.</param>
    /// <param name="features">[rows, features].</param>
    public Tensor Call(nn.Module module, Tensor features) => CallParts(module, Split(features));

    /// <summary>Has a module compute with what <see cref="Split"/> has made.</summary>
    public Tensor CallParts(nn.Module module, Tensor[] parts)
    {
        if (named.Count == 0)
            return ((nn.Module<Tensor, Tensor>)module).call(parts[0]);
        if (!_calls.TryGetValue(module.GetType(), out var call))
            _calls[module.GetType()] = call = Caller(Record(module.GetType())!);
        return call(module, parts);
    }

    /// <summary>The module's tensors of some rows: [rows, size] each, numbers as Float32, ids as Int64.</summary>
    public Tensor[] Split(Tensor features)
    {
        if (named.Count == 0)
            return [features];
        var parts = new Tensor[named.Count];
        foreach (var (i, (input, start)) in Places().Index())
        {
            var part = features.narrow(1, start, input.Size);
            parts[i] = input.KeyCount > 0 ? part.to(ScalarType.Int64) : part.contiguous();
        }

        return parts;
    }

    /// <summary>The parts, and where each begins.</summary>
    public IEnumerable<(ModuleInput Input, int Start)> Places() => ModuleInput.Places(named);

    private Func<nn.Module, Tensor[], Tensor> Caller(Type record)
    {
        var constructor = Constructor(record)!;
        var call = s_callNamed.MakeGenericMethod(record).CreateDelegate<Func<ConstructorInfo, nn.Module, Tensor[], Tensor>>();
        return (module, parts) => call(constructor, module, parts);
    }

    private static Tensor CallNamed<TInputs>(ConstructorInfo constructor, nn.Module module, Tensor[] parts) =>
        ((nn.Module<TInputs, Tensor>)module).call((TInputs)constructor.Invoke(BindingFlags.DoNotWrapExceptions, binder: null, [.. parts], culture: null));

    private static Type? Record(Type? module)
    {
        for (; module is not null; module = module.BaseType)
            if (module.IsGenericType && module.GetGenericTypeDefinition() == typeof(nn.Module<,>) && module.GetGenericArguments() is [var record, var result] && result == typeof(Tensor))
                return record;
        return null;
    }

    private ConstructorInfo? Constructor(Type record) => record.GetConstructors().FirstOrDefault(c =>
        c.GetParameters() is var given && given.All(p => p.ParameterType == typeof(Tensor)) && given.Select(p => p.Name).SequenceEqual(named.Select(i => i.Name)));
}
