namespace Microsoft.ML.Distributed;

/// <summary>A module whose parameters are not all trained alike.</summary>
/// <example><code>
/// public sealed class MyNet : nn.Module&lt;Tensor, Tensor&gt;, IParameterGroups
/// {
///     // ...
///     public IEnumerable&lt;ParameterGroup&gt; ConfigureOptimizer() =>
///     [
///         new("embedding.*") { IsFrozen = true },
///         new("body.*") { LearningRateFactor = 0.1 },
///         new("head.*") { WeightDecay = 0 },
///     ];
/// }
/// </code></example>
public interface IParameterGroups
{
    /// <summary>The groups. What is in none of them is trained as the trainer's options say.</summary>
    /// <returns>Groups without a parameter in common. They depend on nothing but the module's options: every rank asks.</returns>
    IEnumerable<ParameterGroup> ConfigureOptimizer();
}
