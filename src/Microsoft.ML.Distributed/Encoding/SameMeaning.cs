using System.Reflection;
using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Whether rows of two data sets mean the same: keys and slots are places, whose values and names are in annotations. Data
/// that was mapped on its own has the same types and another order.
/// </summary>
internal static class SameMeaning
{
    private const string Remedy = "Map both with the same fitted transformer.";
    private static readonly MethodInfo s_read = typeof(SameMeaning).GetMethod(nameof(Read), BindingFlags.NonPublic | BindingFlags.Static)!;

    /// <summary>What is wrong with the validation set's classes, or null.</summary>
    public static string? CompareKeys(DataViewSchema.Column training, DataViewSchema.Column validation)
    {
        var subject = $"Validation set: label column \"{validation.Name}\"";
        var (known, seen) = (KeyValues(training), KeyValues(validation));
        var (knownCount, seenCount) = (((KeyDataViewType)training.Type).Count, ((KeyDataViewType)validation.Type).Count);
        if (known?.Type != seen?.Type)
            return $"{subject} has {Describe(seen)}, expected {Describe(known)} as in the training data. {Remedy}";
        // Without values nothing but the number tells one mapping from another.
        if (known is null || seen is null)
            return seenCount == knownCount ? null : $"{subject} has {seenCount} classes without key values, expected {knownCount} as in the training data. {Remedy}";

        var shared = Math.Min(known.Values.Length, seen.Values.Length);
        for (var i = 0; i < shared; i++)
        {
            if (!Equals(known.Values[i], seen.Values[i]))
                return $"{subject} has the value \"{seen.Values[i]}\" as class {i}, expected \"{known.Values[i]}\" as in the training data. {Remedy}";
        }

        // A mapping that has not seen the last classes is the same for the others.
        if (seenCount <= knownCount)
            return null;
        var extra = (int)knownCount < seen.Values.Length ? $" (the first unknown one is \"{seen.Values[(int)knownCount]}\")" : "";
        return $"{subject} has {seenCount} classes{extra}, expected at most the training data's {knownCount}. {Remedy}";
    }

    /// <summary>What is wrong with the validation set's slots, or null. Slots without a name on either side are taken as they come.</summary>
    public static string? CompareSlots(DataViewSchema.Column training, DataViewSchema.Column validation)
    {
        if (!training.HasSlotNames() || !validation.HasSlotNames())
            return null;
        VBuffer<ReadOnlyMemory<char>> known = default, seen = default;
        training.GetSlotNames(ref known);
        validation.GetSlotNames(ref seen);
        foreach (var (slot, (expected, name)) in known.DenseValues().Zip(seen.DenseValues()).Index())
        {
            if (!expected.IsEmpty && !name.IsEmpty && !expected.Span.SequenceEqual(name.Span))
                return $"Validation set: feature column \"{validation.Name}\" has \"{name}\" in slot {slot:N0}, expected \"{expected}\" as in the training data. Transform both with the same fitted transformer.";
        }

        return null;
    }

    private static Keys? KeyValues(DataViewSchema.Column column)
    {
        if (column.Annotations.Schema.GetColumnOrNull(AnnotationUtils.Kinds.KeyValues) is not { Type: VectorDataViewType { ItemType: var type } })
            return null;
        return new Keys(type, (object[])s_read.MakeGenericMethod(type.RawType).Invoke(null, [column])!);
    }

    private static object[] Read<T>(DataViewSchema.Column column)
        where T : notnull
    {
        VBuffer<T> values = default;
        column.Annotations.GetValue(AnnotationUtils.Kinds.KeyValues, ref values);
        // Texts are slices of shared memory, equal when they are the same slice.
        return [.. values.DenseValues().Select(v => v is ReadOnlyMemory<char> text ? text.ToString() : (object)v)];
    }

    private static string Describe(Keys? keys) => keys is null ? "no key values" : $"key values of {keys.Type}";

    private sealed record Keys(DataViewType Type, object[] Values);
}
