using Microsoft.ML.Distributed;
using MLDistributed.Training.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>The groups that a module puts its parameters into.</summary>
internal static unsafe class ParameterGroups
{
    // As of learning rates and decays in the job's specification.
    private const double LeastFactor = 1e-12;
    private const double Largest = 1e30;
    private const int MostNamed = 8;

    /// <summary>The group of each parameter, by where its numbers are; those of frozen groups need no gradient from now on.</summary>
    /// <exception cref="UserModuleException">A group has no parameter, or one that another has, or numbers that no optimizer takes.</exception>
    public static IReadOnlyDictionary<nint, ParameterGroup> Of(nn.Module module)
    {
        var groups = new Dictionary<nint, ParameterGroup>();
        if (module is not IParameterGroups configured)
            return groups;
        var parameters = module.named_parameters().ToList();
        foreach (var group in Ask(module, configured))
        {
            Check(module, group, parameters);
            foreach (var (name, parameter) in parameters.Where(p => IsIn(module, group, p.name)))
            {
                var memory = (nint)TorchMemory.Data(parameter);
                if (groups.TryGetValue(memory, out var other) && other != group)
                    throw new UserModuleException($"Parameter \"{name}\" of module \"{ModuleTensors.NameOf(module)}\" is in the groups {other} and {group} of its ConfigureOptimizer, expected it, and what is tied to it, in one at most.");
                groups[memory] = group;
            }
        }

        foreach (var (_, parameter) in parameters)
            if (groups.TryGetValue((nint)TorchMemory.Data(parameter), out var group) && group.IsFrozen)
                parameter.requires_grad_(false);
        return groups;
    }

    private static List<ParameterGroup> Ask(nn.Module module, IParameterGroups configured)
    {
        try
        {
            var groups = configured.ConfigureOptimizer()?.ToList();
            if (groups is not null && groups.All(g => g is not null))
                return groups;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw UserModuleException.Of(module, nameof(IParameterGroups.ConfigureOptimizer), e);
        }

        throw new UserModuleException($"Module \"{ModuleTensors.NameOf(module)}\" returned null from its ConfigureOptimizer, or a group that is null, expected groups, or none.");
    }

    private static bool IsIn(nn.Module module, ParameterGroup group, string parameter)
    {
        try
        {
            return group.Has(parameter);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw UserModuleException.Of(module, nameof(IParameterGroups.ConfigureOptimizer), e);
        }
    }

    private static void Check(nn.Module module, ParameterGroup group, IReadOnlyList<(string Name, Parameter)> parameters)
    {
        var (name, subject) = (ModuleTensors.NameOf(module), $"of group {group} of module \"{ModuleTensors.NameOf(module)}\"");
        if (group.Names.Any(n => n is null))
            throw new UserModuleException($"A name {subject} is null, expected names of parameters.");
        var known = $"expected some of \"{string.Join("\", \"", parameters.Take(MostNamed).Select(p => p.Name))}\"{(parameters.Count > MostNamed ? ", ..." : "")}.";
        if (group.Names.FirstOrDefault(n => !parameters.Any(p => ParameterGroup.IsNamed(p.Name, n))) is { } missing)
            throw new UserModuleException($"Name \"{missing}\" {subject} names no parameter, {known}");
        if (!parameters.Any(p => IsIn(module, group, p.Name)))
            throw new UserModuleException($"Group {group} of module \"{name}\" has no parameter, {known}");
        if (group.Names.GroupBy(n => n, StringComparer.Ordinal).FirstOrDefault(n => n.Skip(1).Any()) is { } twice)
            throw new UserModuleException($"Name \"{twice.Key}\" {subject} is there twice, expected each once.");
        if (!(group.LearningRateFactor is >= LeastFactor and <= Largest))
            throw new UserModuleException($"LearningRateFactor {subject} is {group.LearningRateFactor}, expected a number from {LeastFactor} to {Largest}. To train nothing of it set IsFrozen.");
        if (group.WeightDecay is { } decay && !(decay is >= 0 and <= Largest))
            throw new UserModuleException($"WeightDecay {subject} is {decay}, expected null, or a number from 0 to {Largest}.");
        if (group.IsFrozen && (group.LearningRateFactor != 1 || group.WeightDecay is not null))
            throw new UserModuleException($"IsFrozen {subject} is true beside a LearningRateFactor or WeightDecay, expected neither: its parameters keep their first values.");
    }
}
