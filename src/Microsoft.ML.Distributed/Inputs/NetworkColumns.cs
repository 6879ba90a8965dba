using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed;

/// <summary>The columns that are a network's inputs by themselves, and the network of them.</summary>
internal abstract class NetworkColumns
{
    /// <summary>What the network is called.</summary>
    public abstract string Name { get; }

    /// <summary>The columns, in the order of a row.</summary>
    public abstract IReadOnlyList<string> Inputs(NeuralNetworkOptions options);

    /// <summary>All that is wrong with the options and the columns of a schema, each a sentence.</summary>
    public abstract IEnumerable<string> Errors(NeuralNetworkOptions options, SchemaShape schema);

    /// <summary>What a column is, as "Input".</summary>
    public abstract string RoleOf(string column, NeuralNetworkOptions options);

    /// <summary>The network of columns that were found valid.</summary>
    public abstract NetworkModule Network(IReadOnlyList<InputColumn> columns);
}

/// <summary>A module of the user's own, which names its columns.</summary>
internal sealed class ModuleColumns(OwnModule module, IReadOnlyList<string> inputs) : NetworkColumns
{
    public override string Name => module.Name;

    public override IReadOnlyList<string> Inputs(NeuralNetworkOptions options) => inputs;

    public override IEnumerable<string> Errors(NeuralNetworkOptions options, SchemaShape schema)
    {
        if (options.FeatureColumnName != DefaultColumnNames.Features)
            yield return $"FeatureColumnName is \"{options.FeatureColumnName}\" beside a module of several inputs, expected it left alone: the columns are {string.Join(", ", inputs.Select(i => $"\"{i}\""))}, as the module's inputs are called.";
        if (inputs.Contains(options.LabelColumnName))
            yield return $"Label column \"{options.LabelColumnName}\" is an input of module \"{module.Name}\" too, expected another column.";
        foreach (var error in InputColumn.Validate(inputs, schema, "Input"))
            yield return error;
    }

    public override string RoleOf(string column, NeuralNetworkOptions options) => "Input";

    public override NetworkModule Network(IReadOnlyList<InputColumn> columns) => module.WithInputs(columns);
}

/// <summary>The built-in network with columns of categories behind its features.</summary>
/// <param name="categories">The columns of categories.</param>
internal sealed class CategoricalColumns(IReadOnlyList<string> categories) : NetworkColumns
{
    public override string Name => "DistributedNeuralNetwork";

    public override IReadOnlyList<string> Inputs(NeuralNetworkOptions options) => HasFeatures(options) ? [options.FeatureColumnName, .. categories] : categories;

    public override IEnumerable<string> Errors(NeuralNetworkOptions options, SchemaShape schema)
    {
        if (categories.Count == 0)
            yield return "categoricalColumnNames has no column, expected at least one. Leave the argument out for a network of the features column alone.";
        if (categories.Any(string.IsNullOrEmpty))
        {
            yield return "categoricalColumnNames has a name that is empty, expected those of columns.";
            yield break;
        }

        if (categories.Distinct(StringComparer.Ordinal).Count() < categories.Count)
            yield return $"categoricalColumnNames has column \"{categories.GroupBy(c => c, StringComparer.Ordinal).First(g => g.Count() > 1).Key}\" twice, expected each column once.";
        if (categories.FirstOrDefault(c => c == options.LabelColumnName || c == options.ExampleWeightColumnName || c == options.GroupColumn) is { } other)
            yield return $"Categorical column \"{other}\" is the label, weight or group column too, expected another column.";
        if (HasFeatures(options) && TrainingColumns.Check(schema, "", "Feature", options.FeatureColumnName, "a vector of Single with a known size", ColumnRemedy.ForFeatures, TrainingColumns.AreFeatures) is { } error)
            yield return schema.TryFindColumn(options.FeatureColumnName, out _) ? error : $"{error} Or set FeatureColumnName to \"\": there are categories alone.";
        foreach (var category in categories)
            if (TrainingColumns.Check(schema, "", "Categorical", category, "a key", ColumnRemedy.ForKey, TrainingColumns.IsKey) is { } wrong)
                yield return wrong;
    }

    public override string RoleOf(string column, NeuralNetworkOptions options) => column == options.FeatureColumnName ? "Feature" : "Categorical";

    public override NetworkModule Network(IReadOnlyList<InputColumn> columns) => new BuiltInNetwork([.. columns.Where(c => c.IsKey)]);

    private static bool HasFeatures(NeuralNetworkOptions options) => !string.IsNullOrEmpty(options.FeatureColumnName);
}
