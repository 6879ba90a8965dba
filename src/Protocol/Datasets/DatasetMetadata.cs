using System.Runtime.InteropServices;

namespace MLDistributed.Protocol;

/// <summary>
/// The metadata of a dataset's Arrow messages (arrow.apache.org/docs/format/Columnar.html), read by our own bounded reads and
/// compared with what <see cref="DatasetSchema"/> and its batches look like, before Arrow or anybody else allocates by
/// what it says: a schema may claim a billion children, or be nested until a decoder's stack ends.
/// </summary>
public static class DatasetMetadata
{
    /// <summary>The most bytes of a message's metadata; ours has less than one KiB.</summary>
    public const int MaxBytes = 16 << 10;

    private const byte Integer = 2, FloatingPoint = 3, List = 12, Struct = 13, FixedSizeList = 16, SinglePrecision = 1, LittleEndian = 0;
    private const byte SchemaMessage = 1, RecordBatchMessage = 3;
    private const int Alignment = 64;
    private const string Expected = DatasetSchema.Expected + ", uncompressed and without nulls. Encode the data again with this version.";

    /// <summary>Reads a stream's first message.</summary>
    /// <param name="message">The metadata alone, without the length before it.</param>
    /// <exception cref="FormatException">It is not the schema of a training set.</exception>
    public static DatasetShape ReadSchema(ReadOnlySpan<byte> message)
    {
        try
        {
            RequireLength(message.Length);
            var root = FlatTable.Root(message);
            if (root.Value<byte>(1) != SchemaMessage)
                throw Invalid($"begins with a message of type {root.Value<byte>(1)}");
            return ReadSchema(root.Table(2));
        }
        catch (Exception e) when (FlatTable.IsOutside(e))
        {
            throw Invalid("has a schema that points past its end", e);
        }
    }

    /// <summary>Reads the metadata of a record batch.</summary>
    /// <param name="message">The metadata alone, without the length before it.</param>
    /// <param name="shape">What the schema said.</param>
    /// <param name="bodyBytes">The body's length; all buffers are within it.</param>
    /// <exception cref="FormatException">It is not a batch of that shape.</exception>
    public static BatchLayout ReadBatch(ReadOnlySpan<byte> message, DatasetShape shape, long bodyBytes)
    {
        ArgumentNullException.ThrowIfNull(shape);
        try
        {
            RequireLength(message.Length);
            var root = FlatTable.Root(message);
            if (root.Value<byte>(1) != RecordBatchMessage)
                throw Invalid($"has a message of type {root.Value<byte>(1)} where a record batch is due");
            if (root.Value<long>(3) != bodyBytes)
                throw Invalid($"has a record batch that says it has {root.Value<long>(3)} bytes, and has {bodyBytes}");
            return ReadBatch(root.Table(2), shape, bodyBytes);
        }
        catch (Exception e) when (FlatTable.IsOutside(e))
        {
            throw Invalid("has a record batch whose metadata points past its end", e);
        }
    }

    /// <summary>Reads the footer of an Arrow file: its shape, and where its batches are.</summary>
    /// <param name="footer">The footer alone.</param>
    /// <param name="fileBytes">The file's length; all blocks are within it.</param>
    /// <exception cref="FormatException">It is not that of a training set.</exception>
    public static DatasetFooter ReadFooter(ReadOnlySpan<byte> footer, long fileBytes)
    {
        try
        {
            var root = FlatTable.Root(footer);
            var shape = ReadSchema(root.Table(1));
            var blocks = root.Structs<DatasetBlock>(3).ToArray();
            foreach (var block in blocks)
                if (block.Offset < 0 || block.Offset % 8 != 0 || block.MetadataBytes % 8 != 0 || block.MetadataBytes < 8 || block.BodyBytes < 0 || block.Offset > fileBytes - block.MetadataBytes || block.BodyBytes > fileBytes - block.MetadataBytes - block.Offset)
                    throw Invalid($"has a block of {block.BodyBytes} bytes at {block.Offset} of {fileBytes}");
            return new DatasetFooter(shape, blocks);
        }
        catch (Exception e) when (FlatTable.IsOutside(e))
        {
            throw Invalid("has a footer that points past its end", e);
        }
    }

    /// <summary>The most bytes of the body of a batch that this release writes: its rows, and what aligns its buffers.</summary>
    public static long MaxBodyBytes(DatasetShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        long rows = DatasetSchema.MostRows(shape);
        // Of sparse rows a feature is two numbers, and an offset is one more.
        var features = shape.IsSparse ? Math.Max(DatasetSchema.MostNonZeros(2, shape.FeatureSize), DatasetSchema.MostNonZeros(1, shape.FeatureSize)) * 2L : rows * shape.FeatureSize;
        var values = (features * shape.ElementBytes) + (((shape.IsSparse ? rows + 1 : 0) + (rows * (shape.HasWeights ? 2L : 1L))) * sizeof(float));
        var validity = (features * 3 / 2 + rows * 3L + 7) / 8;
        return values + validity + 16 * Alignment;
    }

    /// <summary>What a message says of its body's length; nothing is believed yet.</summary>
    internal static long ReadBodyBytes(ReadOnlySpan<byte> message)
    {
        try
        {
            return FlatTable.Root(message).Value<long>(3);
        }
        catch (Exception e) when (FlatTable.IsOutside(e))
        {
            throw Invalid("has a message whose metadata points past its end", e);
        }
    }

    internal static FormatException Invalid(string what, Exception? inner = null) => new($"The dataset {what}, {Expected}", inner);

    private static void RequireLength(long bytes)
    {
        if (bytes > MaxBytes)
            throw Invalid($"has {bytes} bytes of metadata in a message (at most {MaxBytes})");
    }

    private static DatasetShape ReadSchema(FlatTable schema)
    {
        string[] names = [DatasetSchema.Features, DatasetSchema.Label, DatasetSchema.Weight];
        var count = schema.TableCount(1);
        if (count is not (2 or 3) || schema.Value<short>(0) != LittleEndian)
            throw Invalid($"has {count} columns");
        var first = schema.TableAt(1, 0);
        if ((first.Value<byte>(2) == List ? ReadSparse(first) : ReadDense(first)) is not { } shape)
            throw Invalid($"has another column where \"{DatasetSchema.Features}\" is due");
        for (var i = 1; i < count; i++)
            if (!IsLeaf(schema.TableAt(1, i), names[i], FloatingPoint))
                throw Invalid($"has another column where \"{names[i]}\" is due");
        return shape.FeatureSize is >= 1 and <= DatasetSchema.MaxFeatures
            ? shape with { HasWeights = count == 3 }
            : throw Invalid($"has {shape.FeatureSize} features a row (1 to {DatasetSchema.MaxFeatures})");
    }

    private static DatasetShape? ReadDense(FlatTable field)
    {
        if (!IsNamed(field, DatasetSchema.Features, FixedSizeList) || field.TableCount(5) != 1)
            return null;
        var item = field.TableAt(5, 0);
        FeatureElement? element = IsLeaf(item, null, FloatingPoint) ? FeatureElement.Float32 : IsLeaf(item, null, Integer, bits: 8, isSigned: false) ? FeatureElement.UInt8 : null;
        return element is { } known ? new DatasetShape(field.Table(3).Value<int>(0), HasWeights: false, known) : null;
    }

    private static DatasetShape? ReadSparse(FlatTable field)
    {
        if (!IsNamed(field, DatasetSchema.Features, List) || field.TableCount(5) != 1 || field.TableCount(6) != 1 || field.TableAt(6, 0).Text(0) != DatasetSchema.Size)
            return null;
        var pair = field.TableAt(5, 0);
        return IsNamed(pair, null, Struct) && pair.TableCount(5) == 2 && IsLeaf(pair.TableAt(5, 0), DatasetSchema.Index, Integer) && IsLeaf(pair.TableAt(5, 1), DatasetSchema.Value, FloatingPoint)
            && DatasetSchema.ParseSize(field.TableAt(6, 0).Text(1)) is { } size ? new DatasetShape(size, HasWeights: false, IsSparse: true) : null;
    }

    private static bool IsNamed(FlatTable field, string? name, byte type) => (name is null || field.Text(0) == name) && !field.Has(4) && field.Value<byte>(2) == type;

    // A float of four bytes, or an integer.
    private static bool IsLeaf(FlatTable field, string? name, byte type, int bits = 32, bool isSigned = true) => IsNamed(field, name, type) && field.TableCount(5) == 0
        && (type == FloatingPoint ? field.Table(3).Value<short>(0) == SinglePrecision : field.Table(3).Value<int>(0) == bits && field.Table(3).Value<byte>(1) == (isSigned ? 1 : 0));

    // Nodes and buffers come depth first, each array's validity before its values: of dense features the list and its numbers, of
    // sparse ones the list with its offsets, the pairs, which have no values, and their two parts.
    private static BatchLayout ReadBatch(FlatTable batch, DatasetShape shape, long bodyBytes)
    {
        var rows = batch.Value<long>(0);
        var nodes = batch.Structs<Node>(1);
        var buffers = batch.Structs<Range>(2);
        var (featureNodes, featureBuffers) = shape.IsSparse ? (4, 7) : (2, 3);
        var columns = shape.HasWeights ? 2 : 1;
        if (rows is < 0 or > int.MaxValue || batch.Has(3) || nodes.Length != featureNodes + columns || buffers.Length != featureBuffers + 2 * columns)
            throw Invalid($"has a record batch of {rows} rows, {nodes.Length} arrays and {buffers.Length} buffers{(batch.Has(3) ? ", compressed" : "")}");
        var values = shape.IsSparse ? nodes[1].Length : rows * shape.FeatureSize;
        if (shape.IsSparse && (values < 0 || values > DatasetSchema.MostNonZeros((int)rows, shape.FeatureSize)))
            throw Invalid($"has a record batch of {rows} rows with {values} non-zero features (at most {DatasetSchema.MostNonZeros((int)rows, shape.FeatureSize)})");
        for (var i = 0; i < nodes.Length; i++)
            if (nodes[i].NullCount != 0 || nodes[i].Length != (i > 0 && i < featureNodes ? values : rows))
                throw Invalid($"has an array of {nodes[i].Length} values, {nodes[i].NullCount} of them null, in a record batch of {rows} rows");
        foreach (var buffer in buffers)
            if (buffer.Offset < 0 || buffer.Length < 0 || buffer.Offset > bodyBytes - buffer.Length)
                throw Invalid($"has a buffer of {buffer.Length} bytes at {buffer.Offset} of the {bodyBytes} of its record batch");
        var layout = new BatchLayout((int)rows, Values(buffers[featureBuffers - 1], values, shape.ElementBytes), Values(buffers[featureBuffers + 1], rows), shape.HasWeights ? Values(buffers[featureBuffers + 3], rows) : 0);
        return shape.IsSparse ? layout with { OffsetsAt = Values(buffers[1], rows + 1), IndicesAt = Values(buffers[4], values), NonZeros = (int)values } : layout;

        static long Values(Range buffer, long count, int bytes = sizeof(float)) => buffer.Length >= count * bytes && buffer.Offset % bytes == 0
            ? buffer.Offset
            : throw Invalid($"has a buffer of {buffer.Length} bytes at {buffer.Offset} for {count} values");
    }

    // The format's own structs, read in place.
    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Node(long Length, long NullCount);

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Range(long Offset, long Length);
}

/// <summary>Where the values of a record batch are in its body; all of them are within it.</summary>
/// <param name="Rows">Rows of the batch.</param>
/// <param name="FeaturesAt">Byte of the first feature of the first row; row after row follows.</param>
/// <param name="LabelsAt">Byte of the first label.</param>
/// <param name="WeightsAt">Byte of the first weight, where there are some.</param>
public readonly record struct BatchLayout(int Rows, long FeaturesAt, long LabelsAt, long WeightsAt)
{
    /// <summary>Of sparse rows: byte of the first of the <see cref="Rows"/> + 1 offsets, which are where a row's features begin and the last one's end.</summary>
    public long OffsetsAt { get; init; }

    /// <summary>Of sparse rows: byte of the first feature's index.</summary>
    public long IndicesAt { get; init; }

    /// <summary>Of sparse rows: how many features they name together.</summary>
    public int NonZeros { get; init; }
}

/// <summary>What the end of a dataset's file says of it.</summary>
/// <param name="Shape">The width of its rows.</param>
/// <param name="Blocks">Its record batches in order.</param>
public sealed record DatasetFooter(DatasetShape Shape, IReadOnlyList<DatasetBlock> Blocks);

/// <summary>A record batch in a dataset's file; the layout is the format's own.</summary>
/// <param name="Offset">Where its metadata begins, in bytes.</param>
/// <param name="MetadataBytes">Of the metadata, with the length before it.</param>
/// <param name="Padding">Nothing.</param>
/// <param name="BodyBytes">Of the body, which follows.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct DatasetBlock(long Offset, int MetadataBytes, int Padding, long BodyBytes);
