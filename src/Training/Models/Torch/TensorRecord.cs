using System.Reflection;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A type that is one tensor, or a record of tensors by name, as a module's code has it.</summary>
internal sealed class TensorRecord
{
    private readonly ConstructorInfo? _constructor;
    private readonly PropertyInfo[] _properties;

    private TensorRecord(ConstructorInfo? constructor, PropertyInfo[] properties) => (_constructor, _properties) = (constructor, properties);

    /// <summary>A type as one tensor (no names), or as a record of tensors of these names; null: it is none.</summary>
    public static TensorRecord? Of(Type type, IReadOnlyList<string> names)
    {
        if (names.Count == 0)
            return type == typeof(Tensor) ? new TensorRecord(null, []) : null;
        var constructor = type.GetConstructors().FirstOrDefault(c =>
            c.GetParameters() is var given && Array.TrueForAll(given, p => p.ParameterType == typeof(Tensor)) && given.Select(p => p.Name).SequenceEqual(names));
        var properties = names.Select(type.GetProperty).OfType<PropertyInfo>().Where(p => p.PropertyType == typeof(Tensor)).ToArray();
        return constructor is null || properties.Length < names.Count ? null : new TensorRecord(constructor, properties);
    }

    /// <summary>The type's object of some tensors, in the order of the names.</summary>
    public object Make(Tensor[] parts) => _constructor is null ? parts[0] : _constructor.Invoke(BindingFlags.DoNotWrapExceptions, binder: null, [.. parts], culture: null);

    /// <summary>An object's tensors, in the order of the names.</summary>
    public Tensor?[] Read(object? record) => _constructor is null || record is null ? [(Tensor?)record] : Array.ConvertAll(_properties, p => (Tensor?)p.GetValue(record));
}
