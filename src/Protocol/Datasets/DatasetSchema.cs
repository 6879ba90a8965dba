using Apache.Arrow;
using Apache.Arrow.Types;

namespace MLDistributed.Protocol;

/// <summary>
/// The Arrow schema of a training set: "features" (FixedSizeList&lt;float32&gt;, or of uint8, as pixels are), "label" (float32; a
/// class index from 0, 0 or 1, or a value) and, when examples are weighted, "weight" (float32). No column is nullable; missing
/// features are NaN.
/// </summary>
public static class DatasetSchema
{
    /// <summary>The name of the features column.</summary>
    public const string Features = "features";

    /// <summary>The name of the label column.</summary>
    public const string Label = "label";

    /// <summary>The name of the optional weight column.</summary>
    public const string Weight = "weight";

    /// <summary>The most features: a row of them fits into a message of the wire, 64 MiB.</summary>
    public const int MaxFeatures = 16_000_000;

    /// <summary>What a schema must be, in words.</summary>
    public const string Expected = "expected features: fixed_size_list<float> or fixed_size_list<uint8>, label: float and optionally weight: float";

    private const long BatchBytes = 4 << 20;
    private const long MaxBatchRows = 1 << 16;

    /// <summary>Makes the schema of rows with <paramref name="featureSize"/> features.</summary>
    public static Schema Create(int featureSize, bool hasWeights) => Create(new DatasetShape(featureSize, hasWeights));

    /// <summary>Makes the schema of rows of a shape.</summary>
    public static Schema Create(DatasetShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        IArrowType item = shape.Element == FeatureElement.UInt8 ? UInt8Type.Default : FloatType.Default;
        var builder = new Schema.Builder()
            .Field(new Field(Features, new FixedSizeListType(new Field("item", item, nullable: false), shape.FeatureSize), nullable: false))
            .Field(new Field(Label, FloatType.Default, nullable: false));
        if (shape.HasWeights)
            builder.Field(new Field(Weight, FloatType.Default, nullable: false));
        return builder.Build();
    }

    /// <summary>Rows in every record batch but the last: about 4 MiB of features, at most 65,536 rows.</summary>
    public static int RowsPerBatch(DatasetShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        return (int)Math.Clamp(BatchBytes / ((long)shape.ElementBytes * shape.FeatureSize), 1, MaxBatchRows);
    }

    /// <summary>Reads the shape of a dataset off its schema.</summary>
    /// <exception cref="FormatException">The schema is not a training set's.</exception>
    public static DatasetShape Read(Schema schema)
    {
        var names = schema.FieldsList.Select(f => f.Name).ToArray();
        var expected = names.Length == 3 ? [Features, Label, Weight] : new[] { Features, Label };
        if (!names.SequenceEqual(expected)
            || schema.FieldsList[0].DataType is not FixedSizeListType { ValueDataType: FloatType or UInt8Type } features
            || schema.FieldsList.Skip(1).Any(f => f.DataType is not FloatType))
        {
            throw new FormatException(
                $"Dataset schema has columns \"{string.Join("\", \"", schema.FieldsList.Select(f => $"{f.Name}: {f.DataType.Name}"))}\", " +
                $"{Expected}. Encode the data again with this version.");
        }

        return new DatasetShape(features.ListSize, names.Length == 3, features.ValueDataType is UInt8Type ? FeatureElement.UInt8 : FeatureElement.Float32);
    }
}

/// <summary>The width of a dataset's rows.</summary>
/// <param name="FeatureSize">Features a row.</param>
/// <param name="HasWeights">Whether every row has a weight.</param>
/// <param name="Element">What a feature is on disk and on the wire.</param>
public sealed record DatasetShape(int FeatureSize, bool HasWeights, FeatureElement Element = FeatureElement.Float32)
{
    /// <summary>Bytes of a feature.</summary>
    public int ElementBytes => Element == FeatureElement.UInt8 ? sizeof(byte) : sizeof(float);
}

/// <summary>The type of a dataset's features.</summary>
public enum FeatureElement
{
    /// <summary>Numbers of 4 bytes; NaN is a missing one.</summary>
    Float32,

    /// <summary>Whole numbers from 0 to 255, as pixels are: a quarter of the bytes.</summary>
    UInt8,
}
