using System.Reflection;
using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A tensor that depends on no row: computed again from a job's parameters when its graph is written.</summary>
internal abstract class OutsideValue
{
    /// <param name="parameter">A parameter or buffer of the job, by its name.</param>
    public abstract Tensor Compute(Func<string, Tensor> parameter);

    /// <summary>The tensors in something that a method took or gave.</summary>
    public static IEnumerable<Tensor> Tensors(object? value) => value switch
    {
        Tensor { IsInvalid: true } => [], // a result that was not asked for
        Tensor tensor => [tensor],
        ITuple tuple => Enumerable.Range(0, tuple.Length).SelectMany(i => Tensors(tuple[i])),
        IEnumerable<Tensor> tensors => tensors,
        _ => [],
    };
}

/// <summary>Numbers that never change.</summary>
internal sealed class FixedValue(Tensor numbers) : OutsideValue
{
    private readonly Tensor _numbers = numbers.clone().DetachFromDisposeScope();

    public override Tensor Compute(Func<string, Tensor> parameter) => _numbers;
}

/// <summary>A parameter or buffer.</summary>
internal sealed class ParameterValue(string name) : OutsideValue
{
    public string Name => name;

    public override Tensor Compute(Func<string, Tensor> parameter) => parameter(name);
}

/// <summary>What a function makes of others.</summary>
internal sealed class ComputedValue(MethodBase method, object?[] arguments, int index) : OutsideValue
{
    /// <summary>The method to call again with arrays in the place of spans and lists; null: there is none, or it takes tensors within something else.</summary>
    public static MethodBase? Callable(MethodBase method, object?[] arguments)
    {
        if (Array.Exists(arguments, a => Tensors(a).Any()))
            return null;
        var types = Array.ConvertAll(method.GetParameters(), p => p.ParameterType);
        if (Array.Exists(types, t => t.IsByRefLike))
        {
            types = Array.ConvertAll(types, t => t is { IsByRefLike: true, IsGenericType: true } ? t.GetGenericArguments()[0].MakeArrayType() : t);
            if (method.DeclaringType!.GetMethod(method.Name, BindingFlags.Public | BindingFlags.Static | BindingFlags.Instance, types) is not { } other || other.IsStatic != method.IsStatic)
                return null;
            (method, types) = (other, Array.ConvertAll(other.GetParameters(), p => p.ParameterType));
        }

        return types.Zip(arguments[^types.Length..]).All(a => a.Second is not OutsideValue[] || a.First.IsAssignableFrom(typeof(Tensor[]))) ? method : null;
    }

    /// <param name="parameter">A parameter or buffer of the job, by its name.</param>
    public override Tensor Compute(Func<string, Tensor> parameter)
    {
        var given = Array.ConvertAll(arguments, Given);
        var (target, others) = method.IsStatic ? (null, given) : (given[0], given[1..]);
        return Tensors(method.Invoke(target, BindingFlags.DoNotWrapExceptions, binder: null, others, culture: null)).ElementAt(index);

        object? Given(object? argument) => argument switch
        {
            OutsideValue value => value.Compute(parameter),
            OutsideValue[] values => Array.ConvertAll(values, v => v.Compute(parameter)),
            _ => argument,
        };
    }
}

/// <summary>Rows of a table that is a parameter.</summary>
internal sealed class LookedUpValue(OutsideValue table, OutsideValue indices) : OutsideValue
{
    public override Tensor Compute(Func<string, Tensor> parameter)
    {
        var (rows, places) = (table.Compute(parameter), indices.Compute(parameter));
        return rows.index_select(0, places.flatten()).view([.. places.shape, rows.shape[1]]);
    }
}
