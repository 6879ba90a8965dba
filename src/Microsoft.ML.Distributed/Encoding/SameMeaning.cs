using System.Reflection;
using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Whether rows of two data sets mean the same: keys and slots are places, whose values and names are in annotations. Data
/// that was mapped on its own has the same types and another order.
/// </summary>
internal static class SameMeaning
{
    private const int ValuesNamed = 3;
    private const string Remedy = "Map both with the same fitted transformer.";
    private static readonly MethodInfo s_read = typeof(SameMeaning).GetMethod(nameof(Read), BindingFlags.NonPublic | BindingFlags.Static)!;

    /// <summary>What is wrong with the classes, or other keys, of data that is to mean the same as other data; null: nothing.</summary>
    /// <param name="training">The keys that are known.</param>
    /// <param name="validation">Those that are to be like them.</param>
    /// <param name="role">What the latter are called.</param>
    /// <param name="what">What a key is.</param>
    /// <param name="model">Where the former are.</param>
    public static string? CompareKeys(DataViewSchema.Column training, DataViewSchema.Column validation, string role = "Validation set: label", string what = "class", string model = "the training data")
    {
        var subject = $"{role} column \"{validation.Name}\"";
        var several = what == "class" ? "classes" : $"{what}s";
        var (known, seen) = (KeyValues(training), KeyValues(validation));
        var (knownCount, seenCount) = (KeyCount(training), KeyCount(validation));
        if (known?.Type != seen?.Type)
            return $"{subject} has {Describe(seen)}, expected {Describe(known)} as in {model}. {Remedy}";
        // Without values nothing but the number tells one mapping from another.
        if (known is null || seen is null)
            return seenCount == knownCount ? null : $"{subject} has {seenCount} {several} without key values, expected {knownCount} as in {model}. {Remedy}";

        var shared = Math.Min(known.Values.Length, seen.Values.Length);
        for (var i = 0; i < shared; i++)
        {
            if (!Equals(known.Values[i], seen.Values[i]))
                return $"{subject} has the value \"{seen.Values[i]}\" as {what} {i}, expected \"{known.Values[i]}\" as in {model}. {Remedy}";
        }

        // A mapping that has not seen the last classes is the same for the others.
        if (seenCount <= knownCount)
            return null;
        var extra = (int)knownCount < seen.Values.Length ? $" (the first unknown one is \"{seen.Values[(int)knownCount]}\")" : "";
        return $"{subject} has {seenCount} {several}{extra}, expected at most {knownCount}, as in {model}. {Remedy}";
    }

    /// <summary>Finds each class of the data among those that a network knows, by value: the two may have been mapped on their own.</summary>
    /// <param name="network">A key column with the network's classes.</param>
    /// <param name="knownCount">How many these are.</param>
    /// <param name="label">The data's label column.</param>
    /// <param name="subject">What the network is called.</param>
    /// <param name="order">The network's class for each of the data's; empty where they are not the same classes.</param>
    /// <returns>What is wrong, or null.</returns>
    public static string? MatchKeys(DataViewSchema.Column network, int knownCount, DataViewSchema.Column label, string subject, out IReadOnlyList<int> order)
    {
        order = [];
        var (known, seen) = (KeyValues(network), KeyValues(label));
        var count = (int)Math.Min(((KeyDataViewType)label.Type).Count, int.MaxValue);
        if (known?.Type != seen?.Type)
            return $"{subject} has classes with {Describe(known)}, expected {Describe(seen)} as in label column \"{label.Name}\".";
        if (known is null || seen is null)
        {
            order = [.. Enumerable.Range(0, count)];
            return knownCount == count ? null : $"{subject} has {knownCount:N0} classes without key values, expected the {count:N0} of label column \"{label.Name}\".";
        }

        var places = known.Values.Index().ToDictionary(v => v.Item, v => v.Index);
        var (extra, missing) = (seen.Values.Where(v => !places.ContainsKey(v)).ToList(), known.Values.Except(seen.Values).ToList());
        if (extra.Count > 0 || missing.Count > 0)
            return $"{subject} has {known.Values.Length:N0} classes, expected the {seen.Values.Length:N0} of label column \"{label.Name}\"{Named(", which lacks", missing)}{Named(missing.Count > 0 ? " and also has" : ", which also has", extra)}. Use the same classes (MapValueToKey with keyData), or train anew.";
        order = [.. seen.Values.Select(v => places[v])];
        return null;

        static string Named(string words, List<object> values) => values.Count == 0 ? "" : $"{words} {string.Join(", ", values.Take(ValuesNamed).Select(v => $"\"{v}\""))}{(values.Count > ValuesNamed ? $" and {values.Count - ValuesNamed:N0} more" : "")}";
    }

    /// <summary>What is wrong with the slots of data that is to mean the same as other data, or null. Slots without a name on either side are taken as they come.</summary>
    /// <param name="training">The features that are known.</param>
    /// <param name="validation">Those that are to be like them.</param>
    /// <param name="subject">What the latter are called.</param>
    /// <param name="model">What the former are.</param>
    public static string? CompareSlots(DataViewSchema.Column training, DataViewSchema.Column validation, string subject = "Validation set", string model = "the training data")
    {
        if (!training.HasSlotNames() || !validation.HasSlotNames())
            return null;
        VBuffer<ReadOnlyMemory<char>> known = default, seen = default;
        training.GetSlotNames(ref known);
        validation.GetSlotNames(ref seen);
        foreach (var (slot, (expected, name)) in known.DenseValues().Zip(seen.DenseValues()).Index())
        {
            if (!expected.IsEmpty && !name.IsEmpty && !expected.Span.SequenceEqual(name.Span))
                return $"{subject}: feature column \"{validation.Name}\" has \"{name}\" in slot {slot:N0}, expected \"{expected}\" as in {model}. Transform both with the same fitted transformer.";
        }

        return null;
    }

    /// <summary>The name of a slot of a column that has names.</summary>
    public static string NameOfSlot(DataViewSchema.Column column, int slot)
    {
        VBuffer<ReadOnlyMemory<char>> names = default;
        column.GetSlotNames(ref names);
        return names.GetItemOrDefault(slot).ToString();
    }

    // Of a vector of keys, each's.
    private static ulong KeyCount(DataViewSchema.Column column) => ((KeyDataViewType)((column.Type as VectorDataViewType)?.ItemType ?? column.Type)).Count;

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

    /// <summary>What a key stands for: its value, or without values its number in the source, from 0.</summary>
    /// <param name="column">A key column.</param>
    /// <param name="key">From 1.</param>
    public static string NameOfKey(DataViewSchema.Column column, ulong key) =>
        KeyValues(column) is { } keys && key <= (ulong)keys.Values.Length ? $"\"{keys.Values[key - 1]}\"" : $"{key - 1:N0}";

    private static string Describe(Keys? keys) => keys is null ? "no key values" : $"key values of {keys.Type}";

    private sealed record Keys(DataViewType Type, object[] Values);
}
