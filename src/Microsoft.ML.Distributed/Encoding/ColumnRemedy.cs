using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What makes a column of the right type of one of a wrong type: as code, which the tests follow.</summary>
internal static class ColumnRemedy
{
    /// <summary>For features: a vector of Single with a known size.</summary>
    public static string ForFeatures(SchemaShape.Column column)
    {
        var name = column.Name;
        if (column.IsKey)
            return $"Map it with ml.Transforms.Conversion.MapKeyToVector(\"{name}\"{(IsScalar(column) ? "" : ", outputCountVector: true")}).";
        if (column.ItemType is TextDataViewType)
            return $"Make one of it with ml.Transforms.Text.FeaturizeText(\"{name}\"), or ml.Transforms.Categorical.OneHotEncoding for a category.";
        if (!IsNumber(column))
            return Custom($"a vector of Single, such as the hour and the weekday of a date,");
        var convert = column.ItemType == NumberDataViewType.Single ? "" : Convert(name, DataKind.Single);
        return column.Kind switch
        {
            SchemaShape.Column.VectorKind.Vector => $"Convert it with {convert}.",
            SchemaShape.Column.VectorKind.Scalar when convert.Length == 0 => $"Make one with ml.Transforms.Concatenate(\"{name}\", \"{name}\").",
            SchemaShape.Column.VectorKind.Scalar => $"Make one with {convert}.Append(ml.Transforms.Concatenate(\"{name}\", \"{name}\")).",
            _ => $"Declare how many slots every row has, as [VectorType(n)] on the property, or make a vector of so many with ml.Transforms.CustomMapping{(convert.Length == 0 ? "" : $"; then convert it with {convert}")}.",
        };
    }

    /// <summary>For the label of a task.</summary>
    public static string ForLabel(MlTask task, SchemaShape.Column column) => task switch
    {
        MlTask.Multiclass => ForKey(column),
        _ when !IsScalar(column) => Custom("one value a row"),
        MlTask.Binary => ForBoolean(column),
        _ => ForNumber(column),
    };

    /// <summary>For a key.</summary>
    public static string ForKey(SchemaShape.Column column) =>
        IsScalar(column) ? $"Map it with ml.Transforms.Conversion.MapValueToKey(\"{column.Name}\")." : Custom("one value a row");

    /// <summary>For a Single.</summary>
    public static string ForNumber(SchemaShape.Column column) => column switch
    {
        _ when !IsScalar(column) => Custom("one value a row"),
        { IsKey: true } when HasKeyValues(column) => $"Map it back with ml.Transforms.Conversion.MapKeyToValue(\"{column.Name}\").",
        { IsKey: false, ItemType: TextDataViewType } => $"Convert it with {Convert(column.Name, DataKind.Single)}, which reads an empty text as 0.",
        _ when IsNumber(column) || !column.IsKey && column.ItemType is TimeSpanDataViewType => $"Convert it with {Convert(column.Name, DataKind.Single)}.",
        _ => Custom("a Single"),
    };

    private static string ForBoolean(SchemaShape.Column column) => column switch
    {
        { IsKey: true } when HasKeyValues(column) => $"Map it back with ml.Transforms.Conversion.MapKeyToValue(\"{column.Name}\"), or use a multiclass trainer.",
        { IsKey: false, ItemType: TextDataViewType } => $"Say which texts are true: {MapValue(column.Name, "string", "\"yes\"", "\"no\"")}.",
        // ConvertType makes true of everything but 0.
        _ when IsNumber(column) => $"Where it is 0 or 1, convert it with {Convert(column.Name, DataKind.Boolean)}; else say which numbers are true: {MapValue(column.Name, column.ItemType.RawType.Name, "1", "2")}.",
        _ => Custom("a Boolean"),
    };

    private static string Convert(string name, DataKind kind) => $"ml.Transforms.Conversion.ConvertType(\"{name}\", outputKind: DataKind.{kind})";

    private static string MapValue(string name, string type, string yes, string no) => $"ml.Transforms.Conversion.MapValue(\"{name}\", new Dictionary<{type}, bool> {{ [{yes}] = true, [{no}] = false }})";

    private static string Custom(string what) => $"Make {what} of it with ml.Transforms.CustomMapping, or name another column.";

    private static bool IsScalar(SchemaShape.Column column) => column.Kind == SchemaShape.Column.VectorKind.Scalar;

    private static bool IsNumber(SchemaShape.Column column) => !column.IsKey && column.ItemType is NumberDataViewType or BooleanDataViewType;

    private static bool HasKeyValues(SchemaShape.Column column) => column.Annotations.TryFindColumn(AnnotationUtils.Kinds.KeyValues, out _);
}
