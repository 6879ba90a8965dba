using Microsoft.ML.Data;
using Microsoft.ML.Data.IO;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The keys of a label column with their values, of whatever type, as a model file has them.</summary>
internal sealed class LabelKeys
{
    private const string Name = "Label";
    private readonly DataViewSchema.Column _column;

    private LabelKeys(DataViewSchema.Column column) => _column = column;

    /// <summary>One label.</summary>
    public KeyDataViewType Type => (KeyDataViewType)_column.Type;

    /// <summary>The values of the keys, where they have some.</summary>
    public DataViewSchema.Annotations Annotations => _column.Annotations;

    /// <summary>Those of a column of vectors of keys.</summary>
    public static LabelKeys Of(DataViewSchema.Column labels)
    {
        var annotations = new DataViewSchema.Annotations.Builder();
        annotations.Add(labels.Annotations, name => name == AnnotationUtils.Kinds.KeyValues);
        var builder = new DataViewSchema.Builder();
        builder.AddColumn(Name, ((VectorDataViewType)labels.Type).ItemType, annotations.ToAnnotations());
        return new LabelKeys(builder.ToSchema()[0]);
    }

    /// <summary>Reads what <see cref="Save"/> wrote.</summary>
    /// <exception cref="FormatException">It is not that.</exception>
    public static LabelKeys Load(IHostEnvironment environment, BinaryReader reader)
    {
        // A file of a few kilobytes can unpack to gigabytes.
        if (reader.ReadInt32() is var length && length is < 0 or > JobSpecRules.MaxModelSchemaBytes || reader.ReadBytes(length) is var bytes && bytes.Length != length)
            throw new FormatException($"its labels have {length:N0} bytes");
        var schema = new BinaryLoader(environment, new BinaryLoader.Arguments(), new MemoryStream(bytes)).Schema;
        return schema.Count == 1 && schema[0].Type is KeyDataViewType { RawType: var type } && type == typeof(uint) ? new LabelKeys(schema[0]) : throw new FormatException("its labels are no keys");
    }

    /// <summary>Writes them.</summary>
    public void Save(IHostEnvironment environment, BinaryWriter writer)
    {
        var bytes = ToBytes(environment);
        writer.Write(bytes.Length);
        writer.Write(bytes);
    }

    /// <summary>Why they cannot be saved, in a sentence; null: they can.</summary>
    public string? Refusal(IHostEnvironment environment, string label) => ToBytes(environment).Length is var length && length <= JobSpecRules.MaxModelSchemaBytes ? null
        : $"Label column \"{label}\" has keys whose values take {length:N0} bytes, expected at most {JobSpecRules.MaxModelSchemaBytes:N0}. Map shorter or fewer labels.";

    private byte[] ToBytes(IHostEnvironment environment)
    {
        var builder = new DataViewSchema.Builder();
        builder.AddColumn(Name, _column.Type, _column.Annotations);
        using var stream = new MemoryStream();
        new BinarySaver(environment, new BinarySaver.Arguments { Silent = true }).SaveData(stream, new EmptyDataView(environment, builder.ToSchema()), 0);
        return stream.ToArray();
    }
}
