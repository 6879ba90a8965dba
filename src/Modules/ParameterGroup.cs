using System.IO.Enumeration;

namespace Microsoft.ML.Distributed;

/// <summary>Parameters of a module that are trained in a way of their own, by the names that <c>named_parameters()</c> gives them.</summary>
public sealed class ParameterGroup
{
    private readonly Func<string, bool>? _isMember;

    /// <summary>Parameters by their names.</summary>
    /// <param name="names">Names, as "body.0.weight"; in them "*" stands for any text, as in "body.*" and "*.bias". Each names a parameter at least.</param>
    public ParameterGroup(params string[] names) => Names = names ?? [];

    /// <summary>Parameters by what a function says of their names.</summary>
    /// <param name="isMember">Whether the parameter of a name is in the group. It is for one at least.</param>
    public ParameterGroup(Func<string, bool> isMember)
    {
        ArgumentNullException.ThrowIfNull(isMember);
        (_isMember, Names) = (isMember, []);
    }

    /// <summary>The names; empty where a function tells.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>Times the learning rate of each step.</summary>
    /// <value>1.</value>
    public double LearningRateFactor { get; init; } = 1;

    /// <summary>Of every parameter of the group, biases and norms included; null: that of the optimizer, for matrices alone.</summary>
    /// <value>null.</value>
    public double? WeightDecay { get; init; }

    /// <summary>Whether the parameters keep their first values. They take no memory for gradients and the optimizer's state.</summary>
    /// <value>false.</value>
    public bool IsFrozen { get; init; }

    /// <summary>Whether a parameter is in the group.</summary>
    /// <param name="parameter">Its name.</param>
    public bool Has(string parameter) => _isMember?.Invoke(parameter) ?? Names.Any(name => IsNamed(parameter, name));

    /// <summary>Whether a name, in which "*" stands for any text, is a parameter's.</summary>
    /// <param name="parameter">The parameter's name.</param>
    /// <param name="name">The other.</param>
    public static bool IsNamed(string parameter, string name) => FileSystemName.MatchesSimpleExpression(name, parameter, ignoreCase: false);

    /// <summary>The group in words.</summary>
    public override string ToString() => Names.Count > 0 ? $"\"{string.Join("\", \"", Names)}\"" : _isMember is null ? "without names" : "of a function";
}
