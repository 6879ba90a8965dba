using System.Buffers.Binary;
using System.Text;
using Apache.Arrow;
using Apache.Arrow.Types;

namespace MLDistributed.Protocol;

/// <summary>
/// Reads the record batches of a dataset's file or stream one after the other, each bounded by <see cref="DatasetMetadata"/>
/// before memory is taken for it. Holds one batch: what it returned is good until the next.
/// </summary>
public sealed class DatasetReader : IDisposable
{
    private const int PrefixBytes = 8; // 0xFFFFFFFF, and the metadata's length
    private static readonly byte[] s_magic = Encoding.ASCII.GetBytes("ARROW1");
    private readonly Stream _stream;
    private readonly Queue<DatasetBlock>? _blocks;
    private readonly byte[] _metadata = new byte[DatasetMetadata.MaxBytes + PrefixBytes];
    private byte[] _body = [];
    private DatasetShape? _shape;
    private Schema? _schema;

    private DatasetReader(Stream stream, DatasetFooter? footer)
    {
        _stream = stream;
        if (footer is null)
            return;
        Shape = footer.Shape;
        _blocks = new Queue<DatasetBlock>(footer.Blocks);
    }

    /// <summary>The width of the rows; of a stream, known after the first batch was asked for.</summary>
    /// <exception cref="InvalidOperationException">It is not known yet.</exception>
    public DatasetShape Shape
    {
        get => _shape ?? throw new InvalidOperationException("No batch was asked for yet.");
        private set => (_shape, _schema) = (value, DatasetSchema.Create(value));
    }

    /// <summary>Opens a file, as an encoder or <see cref="Apache.Arrow.Ipc.ArrowFileWriter"/> writes it, and reads its footer.</summary>
    /// <exception cref="FormatException">It is no dataset, or damaged.</exception>
    public static async Task<DatasetReader> OpenFileAsync(string path, CancellationToken cancellation)
    {
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, 1 << 16, FileOptions.Asynchronous | FileOptions.SequentialScan);
        try
        {
            return new DatasetReader(stream, await ReadFooterAsync(stream, cancellation).ConfigureAwait(false));
        }
        catch
        {
            await stream.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Takes a stream over, as <see cref="Apache.Arrow.Ipc.ArrowStreamWriter"/> writes it.</summary>
    public static DatasetReader OverStream(Stream stream) => new(stream, null);

    /// <summary>The next batch; null after the last. Good until the next is asked for.</summary>
    /// <exception cref="FormatException">What comes is no batch of a dataset, or is cut off.</exception>
    public async Task<RecordBatch?> NextAsync(CancellationToken cancellation)
    {
        if (_blocks is null)
        {
            if (_shape is null && await ReadMetadataAsync(null, cancellation).ConfigureAwait(false) is { } schema)
                Shape = DatasetMetadata.ReadSchema(schema.Span);
            return _shape is null ? null : await ReadBatchAsync(await ReadMetadataAsync(null, cancellation).ConfigureAwait(false), null, cancellation).ConfigureAwait(false);
        }

        if (!_blocks.TryDequeue(out var block))
            return null;
        _stream.Position = block.Offset;
        return await ReadBatchAsync(await ReadMetadataAsync(block.MetadataBytes, cancellation).ConfigureAwait(false), block.BodyBytes, cancellation).ConfigureAwait(false)
            ?? throw DatasetMetadata.Invalid($"ends before the record batch at {block.Offset}");
    }

    /// <summary>A batch over the bytes of its body, which are not copied. Sparse features are looked through: nobody needs to ask again whether an index is one.</summary>
    /// <param name="schema">Of <see cref="DatasetSchema"/>.</param>
    /// <param name="shape">The schema's.</param>
    /// <param name="layout">Where in the body its values are.</param>
    /// <param name="body">The body.</param>
    /// <exception cref="FormatException">Sparse features are none.</exception>
    public static RecordBatch Wrap(Schema schema, DatasetShape shape, BatchLayout layout, ReadOnlyMemory<byte> body)
    {
        ArgumentNullException.ThrowIfNull(schema);
        ArgumentNullException.ThrowIfNull(shape);
        var type = schema.FieldsList[0].DataType;
        var columns = new List<IArrowArray>(3)
        {
            shape.IsSparse ? Sparse((ListType)type) : Dense((FixedSizeListType)type),
            Values(layout.LabelsAt, layout.Rows),
        };
        if (shape.HasWeights)
            columns.Add(Values(layout.WeightsAt, layout.Rows));
        return new RecordBatch(schema, columns, layout.Rows);

        FloatArray Values(long at, int count) => new(Buffer(at, checked(count * sizeof(float))), ArrowBuffer.Empty, count, 0, 0);

        ArrowBuffer Buffer(long at, int bytes) => new(body.Slice(checked((int)at), bytes));

        FixedSizeListArray Dense(FixedSizeListType list)
        {
            var count = checked(layout.Rows * shape.FeatureSize);
            IArrowArray items = shape.Element == FeatureElement.UInt8 ? new UInt8Array(Buffer(layout.FeaturesAt, count), ArrowBuffer.Empty, count, 0, 0) : Values(layout.FeaturesAt, count);
            return new FixedSizeListArray(list, layout.Rows, items, ArrowBuffer.Empty, 0);
        }

        ListArray Sparse(ListType list)
        {
            var indices = new Int32Array(Buffer(layout.IndicesAt, checked(layout.NonZeros * sizeof(int))), ArrowBuffer.Empty, layout.NonZeros, 0, 0);
            var values = Values(layout.FeaturesAt, layout.NonZeros);
            var pairs = new StructArray(list.ValueDataType, layout.NonZeros, [indices, values], ArrowBuffer.Empty, 0);
            var rows = new ListArray(list, layout.Rows, Buffer(layout.OffsetsAt, (layout.Rows + 1) * sizeof(int)), pairs, ArrowBuffer.Empty, 0);
            SparseFeatures.Check(rows.ValueOffsets, indices.Values, values.Values, shape.FeatureSize);
            return rows;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    private static async Task<DatasetFooter> ReadFooterAsync(FileStream stream, CancellationToken cancellation)
    {
        var tail = new byte[sizeof(int) + s_magic.Length];
        if (stream.Length < 2 * tail.Length)
            throw DatasetMetadata.Invalid($"has {stream.Length} bytes");
        stream.Position = stream.Length - tail.Length;
        await stream.ReadExactlyAsync(tail, cancellation).ConfigureAwait(false);
        var length = BinaryPrimitives.ReadInt32LittleEndian(tail);
        if (!tail.AsSpan(sizeof(int)).SequenceEqual(s_magic) || length < 0 || length > stream.Length - 2 * tail.Length)
            throw DatasetMetadata.Invalid("does not end as an Arrow file");
        var footer = new byte[length];
        stream.Position = stream.Length - tail.Length - length;
        await stream.ReadExactlyAsync(footer, cancellation).ConfigureAwait(false);
        return DatasetMetadata.ReadFooter(footer, stream.Length);
    }

    // Null: the stream ended where it may.
    private async Task<ReadOnlyMemory<byte>?> ReadMetadataAsync(int? expectedBytes, CancellationToken cancellation)
    {
        var prefix = _metadata.AsMemory(0, PrefixBytes);
        var read = await _stream.ReadAtLeastAsync(prefix, PrefixBytes, throwOnEndOfStream: false, cancellation).ConfigureAwait(false);
        if (read == 0)
            return null;
        var length = read == PrefixBytes ? BinaryPrimitives.ReadInt32LittleEndian(prefix.Span[sizeof(int)..]) : 0;
        if (read != PrefixBytes || BinaryPrimitives.ReadUInt32LittleEndian(prefix.Span) != uint.MaxValue || length is < 0 or > DatasetMetadata.MaxBytes
            || (expectedBytes is { } expected && length != expected - PrefixBytes))
            throw DatasetMetadata.Invalid($"has {length} bytes of metadata where a message is due");
        if (length == 0)
            return null;
        var metadata = _metadata.AsMemory(PrefixBytes, length);
        await FillAsync(metadata, cancellation).ConfigureAwait(false);
        return metadata;
    }

    private async Task<RecordBatch?> ReadBatchAsync(ReadOnlyMemory<byte>? metadata, long? bodyBytes, CancellationToken cancellation)
    {
        if (metadata is not { } message)
            return null;
        var bytes = bodyBytes ?? DatasetMetadata.ReadBodyBytes(message.Span);
        if (bytes < 0 || bytes > Math.Min(DatasetMetadata.MaxBodyBytes(Shape), System.Array.MaxLength))
            throw DatasetMetadata.Invalid($"has a record batch of {bytes} bytes (at most {DatasetMetadata.MaxBodyBytes(Shape)})");
        var layout = DatasetMetadata.ReadBatch(message.Span, Shape, bytes);
        if (_body.Length < bytes)
            _body = new byte[bytes];
        await FillAsync(_body.AsMemory(0, (int)bytes), cancellation).ConfigureAwait(false);
        return Wrap(_schema!, Shape, layout, _body.AsMemory(0, (int)bytes));
    }

    private async Task FillAsync(Memory<byte> memory, CancellationToken cancellation)
    {
        var read = await _stream.ReadAtLeastAsync(memory, memory.Length, throwOnEndOfStream: false, cancellation).ConfigureAwait(false);
        if (read < memory.Length)
            throw DatasetMetadata.Invalid("is cut off in a message");
    }
}
