using MLDistributed.Protocol;
using MLDistributed.Training.Metrics;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>The task's metrics, and behind them a module's own: means over rows by their weights.</summary>
internal sealed class ModuleMetrics(MetricSums task, ModuleContract contract, IReadOnlyList<string> names) : MetricSums
{
    public override int Count => task.Count + names.Count + 1;

    public override void Add(Tensor outputs, Tensor labels, Tensor? weights, Span<double> sums)
    {
        task.Add(outputs, labels, weights, sums[..task.Count]);
        contract.AddMetrics(names, outputs, labels, weights, sums[task.Count..]);
    }

    protected override double[] Compute(ReadOnlySpan<double> sums)
    {
        var own = sums[task.Count..];
        var values = new double[names.Count];
        for (var i = 0; i < values.Length; i++)
            values[i] = own[i] / own[names.Count];
        return [.. task.Values(sums[..task.Count]), .. values];
    }

    /// <summary>Looks whether metrics are what a job can join over ranks.</summary>
    /// <param name="module">The module's name.</param>
    /// <param name="values">What it returned.</param>
    /// <param name="labels">Those of the rows.</param>
    /// <exception cref="UserModuleException">They are not.</exception>
    public static void Check(string module, IReadOnlyDictionary<string, Tensor>? values, Tensor labels)
    {
        foreach (var (name, value) in values ?? throw new UserModuleException($"Module \"{module}\" returned null from its Metrics, expected metrics by name, or none."))
            if (value is null || !ModuleContract.IsOfRows(value, labels) || value.is_complex())
                throw new UserModuleException($"Metric \"{VisibleText.Shortened(name)}\" of module \"{module}\" is {(value is null ? "null" : $"[{string.Join(", ", value.shape)}] of {value.dtype}")} for {labels.shape[0]} rows, expected [{string.Join(", ", labels.shape)}], a number or a truth for each row, or one number, their mean by weights.");
    }

    /// <summary>Looks whether names are those of metrics, beside the task's.</summary>
    /// <exception cref="UserModuleException">One is not.</exception>
    public static void CheckNames(string module, IReadOnlyList<string> names, MlTask task)
    {
        if (names.Count > MetricNames.MaxOwn)
            throw new UserModuleException($"Module \"{module}\" has {names.Count} metrics, expected at most {MetricNames.MaxOwn}.");
        foreach (var name in names)
        {
            if (!MetricNames.IsOwn(name))
                throw new UserModuleException($"Metric \"{VisibleText.Shortened(name)}\" of module \"{module}\" has a name that cannot be shown, expected 1 to {MetricNames.MaxOwnLength} letters, digits and any of \" {MetricNames.Punctuation}\", a letter first.");
            if (MetricNames.Of(task).Contains(name, StringComparer.OrdinalIgnoreCase))
                throw new UserModuleException($"Metric \"{name}\" of module \"{module}\" is called as one of the task's, {Quoted(MetricNames.Of(task))}, expected another name.");
            if (names.Count(n => n.Equals(name, StringComparison.OrdinalIgnoreCase)) > 1)
                throw new UserModuleException($"Metric \"{name}\" of module \"{module}\" is called as another but for capital letters, expected another name.");
        }
    }

    /// <summary>Names in words.</summary>
    public static string Quoted(IEnumerable<string> names) => string.Join(", ", names.Order(StringComparer.Ordinal).Select(n => $"\"{VisibleText.Shortened(n)}\"").DefaultIfEmpty("none"));
}
