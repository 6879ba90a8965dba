using Apache.Arrow;
using Apache.Arrow.Types;

namespace MLDistributed.Protocol;

/// <summary>
/// The Arrow schema of a training set: "features" (FixedSizeList&lt;float32&gt;), "label" (float32; a class index from 0,
/// 0 or 1, or a value) and, when examples are weighted, "weight" (float32). No column is nullable; missing features are NaN.
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

    private const long BatchBytes = 4 << 20;
    private const long MaxBatchRows = 1 << 16;

    /// <summary>Makes the schema of rows with <paramref name="featureSize"/> features.</summary>
    public static Schema Create(int featureSize, bool hasWeights)
    {
        var builder = new Schema.Builder()
            .Field(new Field(Features, new FixedSizeListType(new Field("item", FloatType.Default, nullable: false), featureSize), nullable: false))
            .Field(new Field(Label, FloatType.Default, nullable: false));
        if (hasWeights)
            builder.Field(new Field(Weight, FloatType.Default, nullable: false));
        return builder.Build();
    }

    /// <summary>Rows in every record batch but the last: about 4 MiB of features, at most 65,536 rows.</summary>
    public static int RowsPerBatch(int featureSize) =>
        (int)Math.Clamp(BatchBytes / (sizeof(float) * (long)featureSize), 1, MaxBatchRows);

    /// <summary>Reads the shape of a dataset off its schema.</summary>
    /// <exception cref="FormatException">The schema is not a training set's.</exception>
    public static DatasetShape Read(Schema schema)
    {
        var names = schema.FieldsList.Select(f => f.Name).ToArray();
        var expected = names.Length == 3 ? [Features, Label, Weight] : new[] { Features, Label };
        if (!names.SequenceEqual(expected)
            || schema.FieldsList[0].DataType is not FixedSizeListType { ValueDataType: FloatType } features
            || schema.FieldsList.Skip(1).Any(f => f.DataType is not FloatType))
        {
            throw new FormatException(
                $"Dataset schema has columns \"{string.Join("\", \"", schema.FieldsList.Select(f => $"{f.Name}: {f.DataType.Name}"))}\", " +
                "expected features: fixed_size_list<float>, label: float and optionally weight: float. Encode the data again with this version.");
        }

        return new DatasetShape(features.ListSize, names.Length == 3);
    }
}

/// <summary>The width of a dataset's rows.</summary>
/// <param name="FeatureSize">Features a row.</param>
/// <param name="HasWeights">Whether every row has a weight.</param>
public sealed record DatasetShape(int FeatureSize, bool HasWeights);
