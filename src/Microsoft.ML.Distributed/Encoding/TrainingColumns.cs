using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Which columns a trainer reads, and what they must be.</summary>
internal sealed record TrainingColumns(MlTask Task, string Features, string Label, string? Weight)
{
    /// <summary>Of a ranking: the column that tells which rows are ranked together.</summary>
    public string? Group { get; init; }

    /// <summary>All of them: features, label, then weight or group.</summary>
    public IEnumerable<string> All => new[] { Features, Label, Weight, Group }.OfType<string>();

    /// <summary>All that is wrong with the columns of a schema, each a sentence.</summary>
    public IEnumerable<string> Validate(SchemaShape schema, string subject = "")
    {
        var expected = Task switch
        {
            MlTask.Multiclass => "a key",
            MlTask.Binary => "a Boolean",
            MlTask.Ranking => "a key or a Single, degrees of relevance",
            _ => "a Single",
        };
        if (Check(schema, subject, "Feature", Features, "a vector of Single with a known size", ColumnRemedy.ForFeatures,
            AreFeatures) is { } feature)
            yield return feature;
        if (Check(schema, subject, "Label", Label, expected, c => ColumnRemedy.ForLabel(Task, c), IsLabel) is { } label)
            yield return label;
        if (WeightError(schema, subject) is { } weight)
            yield return weight;
        if (Group is not null && Check(schema, subject, "Group", Group, "a key", ColumnRemedy.ForKey, IsKey) is { } group)
            yield return group;
    }

    /// <summary>What is wrong with the column of weights; null: nothing, or there is none.</summary>
    public string? WeightError(SchemaShape schema, string subject) => Weight is null ? null : Check(schema, subject, "Weight", Weight, "a Single", ColumnRemedy.ForNumber,
        c => c.Kind == SchemaShape.Column.VectorKind.Scalar && c.ItemType == NumberDataViewType.Single && !c.IsKey);

    /// <summary>The number of features and outputs of data whose columns are valid.</summary>
    public (int Features, int Outputs) Measure(DataViewSchema schema) => (
        ((VectorDataViewType)schema[Features].Type).Size,
        Task == MlTask.Multiclass ? (int)Math.Min(((KeyDataViewType)schema[Label].Type).Count, int.MaxValue) : 1);

    /// <summary>Whether a column is a vector of Single with a known size.</summary>
    public static bool AreFeatures(SchemaShape.Column column) => column.Kind == SchemaShape.Column.VectorKind.Vector && column.ItemType == NumberDataViewType.Single && !column.IsKey;

    /// <summary>Whether a column is a key.</summary>
    public static bool IsKey(SchemaShape.Column column) => column.Kind == SchemaShape.Column.VectorKind.Scalar && column.IsKey;

    private bool IsLabel(SchemaShape.Column column) => column.Kind == SchemaShape.Column.VectorKind.Scalar && Task switch
    {
        MlTask.Multiclass => column.IsKey,
        MlTask.Binary => column.ItemType == BooleanDataViewType.Instance,
        MlTask.Ranking when column.IsKey => true,
        _ => column.ItemType == NumberDataViewType.Single && !column.IsKey,
    };

    /// <summary>What a column is, as "Feature", in what data, as "Validation set: feature".</summary>
    public static string RoleIn(string subject, string role) => subject.Length == 0 ? role : $"{subject}: {char.ToLowerInvariant(role[0])}{role[1..]}";

    /// <summary>What is wrong with a column; null: nothing.</summary>
    public static string? Check(SchemaShape schema, string subject, string role, string name, string expected, Func<SchemaShape.Column, string> remedy, Func<SchemaShape.Column, bool> holds)
    {
        role = RoleIn(subject, role);
        if (!schema.TryFindColumn(name, out var column))
            return $"{role} column \"{name}\" is not in the data, whose columns are {string.Join(", ", schema.Select(c => $"\"{c.Name}\""))}; expected {expected}. Name another column or add it.";
        return holds(column) ? null : $"{role} column \"{name}\" is {Describe(column)}, expected {expected}. {remedy(column)}";
    }

    /// <summary>A column's type in words.</summary>
    public static string Describe(SchemaShape.Column column)
    {
        var item = column.IsKey ? $"key of {column.ItemType}" : column.ItemType.ToString();
        return column.Kind switch
        {
            SchemaShape.Column.VectorKind.Scalar => $"a {item}",
            SchemaShape.Column.VectorKind.Vector => $"a vector of {item}",
            _ => $"a vector of {item} of varying size",
        };
    }
}
