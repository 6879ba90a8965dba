using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed;

/// <summary>Compares the classes of two label columns, which must be the same for their rows to mean the same.</summary>
internal static class KeyLabels
{
    /// <summary>What is wrong with the validation set's classes, or null.</summary>
    public static string? Compare(DataViewSchema.Column training, DataViewSchema.Column validation)
    {
        var (known, seen) = (Names(training), Names(validation));
        var (knownCount, seenCount) = (((KeyDataViewType)training.Type).Count, ((KeyDataViewType)validation.Type).Count);
        var shared = Math.Min(known?.Length ?? 0, seen?.Length ?? 0);
        for (var i = 0; i < shared; i++)
        {
            if (known![i] != seen![i])
                return $"Validation set: label column \"{validation.Name}\" has the value \"{seen[i]}\" as class {i}, expected \"{known[i]}\" as in the training data. Map both with the same fitted transformer.";
        }

        if (seenCount <= knownCount)
            return null;
        var extra = seen is null ? "" : $" (the first unknown one is \"{seen[(int)Math.Min(knownCount, (ulong)seen.Length - 1)]}\")";
        return $"Validation set: label column \"{validation.Name}\" has {seenCount} classes{extra}, expected at most the training data's {knownCount}. Map both with the same fitted transformer.";
    }

    private static string[]? Names(DataViewSchema.Column column)
    {
        if (column.Annotations.Schema.GetColumnOrNull(AnnotationUtils.Kinds.KeyValues) is not { Type: VectorDataViewType { ItemType: TextDataViewType } })
            return null;
        VBuffer<ReadOnlyMemory<char>> names = default;
        column.GetKeyValues(ref names);
        return [.. names.DenseValues().Select(n => n.ToString())];
    }
}
