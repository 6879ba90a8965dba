using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using System.Text;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Data;

/// <summary>
/// A training set: the mapped Arrow IPC file of <see cref="DatasetSchema"/>, its rows read in place. All ranks of a host
/// share its pages. The layout is arrow.apache.org/docs/format/Columnar.html#ipc-file-format.
/// </summary>
internal sealed unsafe class DatasetFile : IDisposable
{
    private static readonly byte[] s_magic = Encoding.ASCII.GetBytes("ARROW1");

    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly string _path;
    private readonly byte* _start;
    private readonly long _length;
    private readonly RowBatch[] _batches;
    private readonly long _rowsPerBatch;

    /// <exception cref="FormatException">The file is not a training set.</exception>
    public DatasetFile(string path)
    {
        _path = path;
        _length = new FileInfo(path).Length;
        if (_length < 2 * s_magic.Length + 12)
            throw Invalid($"has {_length} bytes");
        _file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        _view = _file.CreateViewAccessor(0, _length, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        try
        {
            var footer = FlatTable.Root(Footer());
            (FeatureSize, HasWeights) = ReadSchema(footer.Table(1));
            _batches = ReadBatches(footer);
            RowCount = _batches is [.., var last] ? last.FirstRow + last.RowCount : 0;
            _rowsPerBatch = _batches is [var first, ..] ? Math.Max(first.RowCount, 1) : 1;
        }
        catch (Exception e) when (e is ArgumentException or IndexOutOfRangeException or OverflowException)
        {
            Dispose();
            throw Invalid("has metadata that points past its end", e);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public int FeatureSize { get; }

    public bool HasWeights { get; }

    public long RowCount { get; }

    /// <summary>The <see cref="FeatureSize"/> features of a row.</summary>
    public float* Features(long row)
    {
        ref readonly var batch = ref BatchOf(row);
        return batch.Features + (row - batch.FirstRow) * FeatureSize;
    }

    public float Label(long row)
    {
        ref readonly var batch = ref BatchOf(row);
        return batch.Labels[row - batch.FirstRow];
    }

    /// <summary>The weight of a row; 1 when rows have none. Denormal ones too, which this rank's arithmetic would take for 0.</summary>
    public double Weight(long row)
    {
        const int Exponent = 0x7F800000, Mantissa = 0x7FFFFF;
        if (!HasWeights)
            return 1;
        ref readonly var batch = ref BatchOf(row);
        var weight = batch.Weights + (row - batch.FirstRow);
        return (*(int*)weight & Exponent) != 0 ? *weight : (*(int*)weight & Mantissa) * (double)float.Epsilon;
    }

    public void Dispose()
    {
        if (_start != null && !_view.SafeMemoryMappedViewHandle.IsClosed)
            _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }

    private ref readonly RowBatch BatchOf(long row)
    {
        // Batches but the last are of one size in files that our encoder wrote; others are searched.
        var index = Math.Min(row / _rowsPerBatch, _batches.Length - 1);
        if ((ulong)(row - _batches[index].FirstRow) < (ulong)_batches[index].RowCount)
            return ref _batches[index];
        if ((ulong)row >= (ulong)RowCount)
            throw new ArgumentOutOfRangeException(nameof(row), row, $"Dataset has {RowCount} rows.");
        var (low, high) = (0, _batches.Length - 1);
        while (low < high)
        {
            var middle = (low + high + 1) / 2;
            (low, high) = _batches[middle].FirstRow <= row ? (middle, high) : (low, middle - 1);
        }

        return ref _batches[low];
    }

    private ReadOnlySpan<byte> Footer()
    {
        var tail = _length - s_magic.Length;
        if (!Bytes(0, s_magic.Length).SequenceEqual(s_magic) || !Bytes(tail, s_magic.Length).SequenceEqual(s_magic))
            throw Invalid("does not begin and end with ARROW1");
        var length = MemoryMarshal.Read<int>(Bytes(tail - 4, 4));
        return Bytes(tail - 4 - length, length);
    }

    private (int FeatureSize, bool HasWeights) ReadSchema(FlatTable schema)
    {
        const byte FloatingPoint = 3, FixedSizeList = 16;
        var count = schema.TableCount(1);
        string[] names = [DatasetSchema.Features, DatasetSchema.Label, DatasetSchema.Weight];
        var size = 0;
        var valid = count is 2 or 3 && schema.Value<short>(0) == 0;
        for (var i = 0; valid && i < count; i++)
        {
            var field = schema.TableAt(1, i);
            valid = field.Text(0) == names[i] && field.Value<byte>(2) == (i == 0 ? FixedSizeList : FloatingPoint);
            if (valid && i == 0)
            {
                size = field.Table(3).Value<int>(0);
                field = field.TableAt(5, 0);
            }

            valid = valid && field.Value<byte>(2) == FloatingPoint && field.Table(3).Value<short>(0) == 1;
        }

        if (!valid || size < 1)
            throw Invalid("has other columns");
        return (size, count == 3);
    }

    private RowBatch[] ReadBatches(FlatTable footer)
    {
        var blocks = footer.Structs<Block>(3);
        var batches = new RowBatch[blocks.Length];
        var firstRow = 0L;
        for (var i = 0; i < batches.Length; i++)
        {
            batches[i] = ReadBatch(blocks[i], firstRow);
            firstRow += batches[i].RowCount;
        }

        return batches;
    }

    private RowBatch ReadBatch(Block block, long firstRow)
    {
        const byte RecordBatchMessage = 3;
        var prefix = MemoryMarshal.Read<uint>(Bytes(block.Offset, 4)) == uint.MaxValue ? 8 : 4;
        var message = FlatTable.Root(Bytes(block.Offset + prefix, block.MetadataLength - prefix));
        if (message.Value<byte>(1) != RecordBatchMessage)
            throw Invalid("has a block that is not a record batch");
        var batch = message.Table(2);
        var rows = batch.Value<long>(0);
        var nodes = batch.Structs<Node>(1);
        var buffers = batch.Structs<Range>(2);
        var columns = HasWeights ? 3 : 2;
        if (batch.Has(3) || nodes.Length != columns + 1 || buffers.Length != 2 * columns + 1)
            throw Invalid("has compressed or other record batches");
        foreach (var node in nodes)
        {
            if (node.NullCount != 0)
                throw Invalid("has null values");
        }

        // Buffers: the list's validity, then validity and values of the features, the label and the weight.
        var body = block.Offset + block.MetadataLength;
        var features = Values(buffers[2], checked(rows * FeatureSize));
        var labels = Values(buffers[4], rows);
        return new RowBatch(firstRow, rows, features, labels, HasWeights ? Values(buffers[6], rows) : null);

        float* Values(Range range, long count)
        {
            if (count < 0 || range.Length < checked(count * sizeof(float)) || range.Offset < 0 || range.Length > _length - body - range.Offset || (body + range.Offset) % sizeof(float) != 0)
                throw Invalid($"has a record batch of {rows} rows with a buffer of {range.Length} bytes at {body + range.Offset}");
            return (float*)(_start + body + range.Offset);
        }
    }

    private ReadOnlySpan<byte> Bytes(long offset, int length) => offset >= 0 && length >= 0 && offset <= _length - length
        ? new ReadOnlySpan<byte>(_start + offset, length)
        : throw Invalid($"is cut off: {length} bytes at {offset} of {_length}");

    private FormatException Invalid(string what, Exception? inner = null) => new(
        $"Dataset file \"{_path}\" {what}, expected an uncompressed Arrow file with features: fixed_size_list<float>, label: float and optionally weight: float. Encode the data again with this version.", inner);

    private readonly struct RowBatch(long firstRow, long rowCount, float* features, float* labels, float* weights)
    {
        public readonly long FirstRow = firstRow;
        public readonly long RowCount = rowCount;
        public readonly float* Features = features;
        public readonly float* Labels = labels;
        public readonly float* Weights = weights;
    }

    // The format's own structs, read in place.
    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Block(long Offset, int MetadataLength, int Padding, long BodyLength);

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Node(long Length, long NullCount);

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Range(long Offset, long Length);
}
