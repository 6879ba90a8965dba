using System.Globalization;
using Apache.Arrow;
using Apache.Arrow.Types;

namespace MLDistributed.Protocol;

/// <summary>
/// The Arrow schema of a training set: "features" (FixedSizeList&lt;float32&gt;, or of uint8, as pixels are), "label" (float32; a
/// class index from 0, 0 or 1, a value, or a <see cref="RankingLabel"/>) and, when examples are weighted, "weight" (float32). No column is nullable; missing
/// features are NaN. Sparse features are List&lt;Struct&lt;index: int32, value: float32&gt;&gt;, the non-zero ones of a row by rising
/// index; how many slots there are is in the field's metadata, "size".
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

    /// <summary>The most non-zero features of a row, for the same reason: each takes 8 bytes.</summary>
    public const int MaxNonZerosOfRow = 7_000_000;

    /// <summary>What a schema must be, in words.</summary>
    public const string Expected = "expected features: fixed_size_list<float> or fixed_size_list<uint8>, label: float and optionally weight: float, or sparse features: list<struct<index: int32, value: float>>";

    internal const string Index = "index";
    internal const string Value = "value";
    internal const string Size = "size";
    private const int BatchBytes = 4 << 20;
    private const int NonZerosOfBatch = BatchBytes / (sizeof(int) + sizeof(float));
    private const long MaxBatchRows = 1 << 16;

    /// <summary>Makes the schema of dense rows with <paramref name="featureSize"/> features.</summary>
    public static Schema Create(int featureSize, bool hasWeights) => Create(new DatasetShape(featureSize, hasWeights));

    /// <summary>Makes the schema of rows of a shape.</summary>
    public static Schema Create(DatasetShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        var builder = new Schema.Builder()
            .Field(shape.IsSparse ? SparseFeatures(shape.FeatureSize) : DenseFeatures(shape))
            .Field(new Field(Label, FloatType.Default, nullable: false));
        if (shape.HasWeights)
            builder.Field(new Field(Weight, FloatType.Default, nullable: false));
        return builder.Build();
    }

    /// <summary>Dense rows in every record batch but the last: about 4 MiB of features, at most 65,536 rows.</summary>
    public static int RowsPerBatch(DatasetShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        return (int)Math.Clamp(BatchBytes / ((long)shape.ElementBytes * shape.FeatureSize), 1, MaxBatchRows);
    }

    /// <summary>The most rows of a record batch. Every batch of dense rows but the last has so many; sparse ones end where another row would make them larger than 4 MiB.</summary>
    public static int MostRows(DatasetShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        return shape.IsSparse ? (int)MaxBatchRows : RowsPerBatch(shape);
    }

    /// <summary>The most non-zero features of a record batch of sparse rows with more than one row.</summary>
    public static int MostNonZeros(int rows, int featureSize) => rows > 1 ? NonZerosOfBatch : Math.Min(featureSize, MaxNonZerosOfRow);

    /// <summary>Reads the shape of a dataset off its schema.</summary>
    /// <exception cref="FormatException">The schema is not a training set's.</exception>
    public static DatasetShape Read(Schema schema)
    {
        var names = schema.FieldsList.Select(f => f.Name).ToArray();
        var expected = names.Length == 3 ? [Features, Label, Weight] : new[] { Features, Label };
        var size = names.Length > 0 ? SizeOf(schema.FieldsList[0]) : null;
        if (!names.SequenceEqual(expected) || size is null || schema.FieldsList.Skip(1).Any(f => f.DataType is not FloatType))
        {
            throw new FormatException(
                $"Dataset schema has columns \"{string.Join("\", \"", schema.FieldsList.Select(f => $"{f.Name}: {f.DataType.Name}"))}\", " +
                $"{Expected}. Encode the data again with this version.");
        }

        return new DatasetShape(
            size.Value, names.Length == 3, schema.FieldsList[0].DataType is FixedSizeListType { ValueDataType: UInt8Type } ? FeatureElement.UInt8 : FeatureElement.Float32, schema.FieldsList[0].DataType is ListType);
    }

    /// <summary>How many slots the metadata of sparse features says there are; null: it is no such number.</summary>
    internal static int? ParseSize(string? text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var size) ? size : null;

    private static int? SizeOf(Field features) => features.DataType switch
    {
        FixedSizeListType { ValueDataType: FloatType or UInt8Type } dense => dense.ListSize,
        ListType { ValueDataType: StructType { Fields: [{ Name: Index, DataType: Int32Type }, { Name: Value, DataType: FloatType }] } } when features.HasMetadata => ParseSize(features.Metadata.GetValueOrDefault(Size)),
        _ => null,
    };

    private static Field DenseFeatures(DatasetShape shape)
    {
        IArrowType item = shape.Element == FeatureElement.UInt8 ? UInt8Type.Default : FloatType.Default;
        return new Field(Features, new FixedSizeListType(new Field("item", item, nullable: false), shape.FeatureSize), nullable: false);
    }

    private static Field SparseFeatures(int size)
    {
        var pair = new StructType([new Field(Index, Int32Type.Default, nullable: false), new Field(Value, FloatType.Default, nullable: false)]);
        return new Field(Features, new ListType(new Field("item", pair, nullable: false)), nullable: false, [new(Size, size.ToString(CultureInfo.InvariantCulture))]);
    }
}

/// <summary>The width of a dataset's rows.</summary>
/// <param name="FeatureSize">Features a row.</param>
/// <param name="HasWeights">Whether every row has a weight.</param>
/// <param name="Element">What a feature is on disk and on the wire.</param>
/// <param name="IsSparse">Whether rows name their non-zero features alone.</param>
public sealed record DatasetShape(int FeatureSize, bool HasWeights, FeatureElement Element = FeatureElement.Float32, bool IsSparse = false)
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
