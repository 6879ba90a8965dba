using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A column that is an input of a module by itself.</summary>
/// <param name="Name">Its name, and the tensor's.</param>
/// <param name="Size">Numbers of a row.</param>
/// <param name="IsVector">Whether it is a vector.</param>
/// <param name="KeyCount">Its keys; 0: it has numbers.</param>
internal sealed record InputColumn(string Name, int Size, bool IsVector, int KeyCount)
{
    private const string Expected = "a Single, a key, or a vector of one of them with a known size";

    public bool IsKey => KeyCount > 0;

    /// <summary>All that is wrong with the columns of a schema, each a sentence; sizes are not in it.</summary>
    /// <param name="names">The inputs.</param>
    /// <param name="schema">The schema.</param>
    /// <param name="role">What the columns are, as "Input".</param>
    public static IEnumerable<string> Validate(IEnumerable<string> names, SchemaShape schema, string role)
    {
        foreach (var name in names)
        {
            if (!schema.TryFindColumn(name, out var column))
                yield return $"{role} column \"{name}\" is not in the data, whose columns are {string.Join(", ", schema.Select(c => $"\"{c.Name}\""))}; expected {Expected}. Add it, copy one to that name with ml.Transforms.CopyColumns, or name the module's input after a column.";
            else if (column.Kind == SchemaShape.Column.VectorKind.VariableVector)
                yield return $"{role} column \"{name}\" is {TrainingColumns.Describe(column)}, expected {Expected}. Declare how many slots every row has, as [VectorType(n)] on the property, or make a vector of so many with ml.Transforms.CustomMapping.";
            else if (!column.IsKey && column.ItemType != NumberDataViewType.Single)
                yield return $"{role} column \"{name}\" is {TrainingColumns.Describe(column)}, expected {Expected}. Map ids and categories with ml.Transforms.Conversion.MapValueToKey(\"{name}\"), or convert numbers with ml.Transforms.Conversion.ConvertType(\"{name}\", outputKind: DataKind.Single).";
        }
    }

    /// <summary>A column whose type was found valid, with its sizes; or why it is none.</summary>
    public static (InputColumn? Column, string? Error) Of(DataViewSchema.Column column, string role)
    {
        var (item, isVector) = (column.Type.GetItemType(), column.Type is VectorDataViewType);
        var size = column.Type.GetValueCount();
        if (item is not KeyDataViewType key)
            return (new InputColumn(column.Name, size, isVector, 0), null);
        return key.Count is 0 or > TorchKind.MaxKeyCount
            ? (null, $"{role} column \"{column.Name}\" has {key.Count:N0} keys, expected 1 to {TorchKind.MaxKeyCount:N0}. {(key.Count == 0 ? "Check that the data has rows" : "Map rare values to one key, as with maximumNumberOfKeys of MapValueToKey")}.")
            : (new InputColumn(column.Name, size, isVector, (int)key.Count), null);
    }

    public ModuleInput ToSpec() => new() { Name = Name, Size = Size, KeyCount = KeyCount, IsVector = IsVector };

    /// <summary>The column of a job's specification.</summary>
    public static InputColumn Of(ModuleInput input) => new(input.Name, input.Size, input.IsVector, input.KeyCount);

    /// <summary>What a column of other data must be, where it is another; null: it is the same.</summary>
    public string? Mismatch(DataViewSchema schema, string role)
    {
        if (Validate([Name], SchemaShape.Create(schema), role).FirstOrDefault() is { } error)
            return error;
        var (other, refusal) = Of(schema[Name], role);
        return refusal ?? (other == this ? null : $"{role} column \"{Name}\" is {other}, expected {this}, as in the training data. Transform both with the same fitted transformer.");
    }

    public override string ToString() => $"{(IsVector ? $"a vector of {Size:N0} " : "a ")}{(IsKey ? $"key{(IsVector ? "s" : "")} of {KeyCount:N0} values" : $"Single{(IsVector ? "s" : "")}")}";
}
