using Microsoft.ML.Distributed;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>The interfaces by which a module can say of its training, those that fit what it takes and puts out.</summary>
/// <param name="Loss">Of its loss.</param>
/// <param name="Step">Of a training step.</param>
/// <param name="Metrics">Of metrics.</param>
internal sealed record ContractTypes(Type Loss, Type Step, Type Metrics)
{
    private static readonly Type[] s_plain = [typeof(IModuleLoss), typeof(ITrainingStep), typeof(IModuleMetrics)];
    private static readonly Type[] s_generic = [typeof(IModuleLoss<,>), typeof(ITrainingStep<,>), typeof(IModuleMetrics<,>)];

    /// <param name="inputs">What forward takes.</param>
    /// <param name="outputs">What it returns.</param>
    /// <param name="labels">What its loss takes, where outputs are columns; null: the task's labels.</param>
    public static ContractTypes Of(Type inputs, Type outputs, Type? labels) => new(
        labels is null ? typeof(IModuleLoss) : typeof(IModuleLoss<,>).MakeGenericType(outputs, labels),
        inputs == typeof(Tensor) ? typeof(ITrainingStep) : typeof(ITrainingStep<,>).MakeGenericType(inputs, labels ?? typeof(Tensor)),
        labels is null ? typeof(IModuleMetrics) : typeof(IModuleMetrics<,>).MakeGenericType(outputs, labels));

    /// <summary>An interface that a module has in the place of one that fits; null: none.</summary>
    public (Type Has, Type Fits)? Misfit(Type module)
    {
        foreach (var has in module.GetInterfaces())
        {
            var definition = has.IsGenericType ? has.GetGenericTypeDefinition() : has;
            var kind = Math.Max(Array.IndexOf(s_plain, definition), Array.IndexOf(s_generic, definition));
            var fits = kind switch { 0 => Loss, 1 => Step, 2 => Metrics, _ => has };
            if (fits != has)
                return (has, fits);
        }

        return null;
    }

    /// <summary>A type as code has it.</summary>
    public static string Shown(Type type) => type.IsGenericType ? $"{type.Name.Split('`')[0]}<{string.Join(", ", type.GetGenericArguments().Select(a => a.Name))}>" : type.Name;
}
