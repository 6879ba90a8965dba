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
    private readonly byte* _start;
    private readonly long _length;
    private readonly RowBatch[] _batches;
    private readonly long _rowsPerBatch;
    private readonly DatasetShape _shape = new(0, HasWeights: false);

    /// <exception cref="FormatException">The file is not a training set.</exception>
    public DatasetFile(string path)
    {
        _length = new FileInfo(path).Length;
        if (_length < 2 * s_magic.Length + 12)
            throw new FormatException($"Dataset file \"{path}\": {Invalid($"has {_length} bytes").Message}");
        _file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        _view = _file.CreateViewAccessor(0, _length, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        try
        {
            var footer = DatasetMetadata.ReadFooter(Footer(), _length);
            _shape = footer.Shape;
            _batches = ReadBatches(footer);
            RowCount = _batches is [.., var last] ? last.FirstRow + last.RowCount : 0;
            _rowsPerBatch = _batches is [var first, ..] ? Math.Max(first.RowCount, 1) : 1;
        }
        catch (FormatException e)
        {
            Dispose();
            throw new FormatException($"Dataset file \"{path}\": {e.Message}", e);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public int FeatureSize => _shape.FeatureSize;

    public bool HasWeights => _shape.HasWeights;

    /// <summary>What a feature is: <see cref="Features"/> are for float32, <see cref="Bytes(long)"/> for uint8.</summary>
    public FeatureElement Element => _shape.Element;

    /// <summary>Whether rows are read by <see cref="Sparse"/>, and not by <see cref="Features"/>.</summary>
    public bool IsSparse => _shape.IsSparse;

    /// <summary>Bytes of a row's features, on average.</summary>
    public double BytesOfRow => IsSparse ? _batches.Sum(b => (long)b.NonZeros) * 2.0 * sizeof(float) / Math.Max(1, RowCount) : FeatureSize * (double)_shape.ElementBytes;

    public long RowCount { get; }

    /// <summary>The <see cref="FeatureSize"/> features of a row.</summary>
    public float* Features(long row)
    {
        ref readonly var batch = ref BatchOf(row);
        return (float*)batch.Features + (row - batch.FirstRow) * FeatureSize;
    }

    /// <summary>The <see cref="FeatureSize"/> features of a row of bytes.</summary>
    public byte* Bytes(long row)
    {
        ref readonly var batch = ref BatchOf(row);
        return batch.Features + (row - batch.FirstRow) * FeatureSize;
    }

    /// <summary>The non-zero features of a row. What is read is within the file; whether slots are some is not looked at.</summary>
    /// <exception cref="FormatException">The row is not within its batch.</exception>
    public void Sparse(long row, out ReadOnlySpan<int> slots, out ReadOnlySpan<float> values)
    {
        ref readonly var batch = ref BatchOf(row);
        var (start, end) = (batch.Offsets[row - batch.FirstRow], batch.Offsets[row - batch.FirstRow + 1]);
        if (start < 0 || end < start || end > batch.NonZeros)
            throw new FormatException($"Dataset row {row} has the features {start} to {end} of {batch.NonZeros}. Encode the data again with this version.");
        slots = new ReadOnlySpan<int>(batch.Slots + start, end - start);
        values = new ReadOnlySpan<float>((float*)batch.Features + start, end - start);
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

    private RowBatch[] ReadBatches(DatasetFooter footer)
    {
        var batches = new RowBatch[footer.Blocks.Count];
        var firstRow = 0L;
        for (var i = 0; i < batches.Length; i++)
        {
            batches[i] = ReadBatch(footer.Blocks[i], footer.Shape, firstRow);
            firstRow += batches[i].RowCount;
        }

        return batches;
    }

    private RowBatch ReadBatch(DatasetBlock block, DatasetShape shape, long firstRow)
    {
        const int Prefix = 8; // 0xFFFFFFFF, and the metadata's length
        var layout = DatasetMetadata.ReadBatch(Bytes(block.Offset + Prefix, block.MetadataBytes - Prefix), shape, block.BodyBytes);
        var body = _start + block.Offset + block.MetadataBytes;
        return new RowBatch(firstRow, layout.Rows, body + layout.FeaturesAt, (float*)(body + layout.LabelsAt), HasWeights ? (float*)(body + layout.WeightsAt) : null)
        {
            Offsets = (int*)(body + layout.OffsetsAt),
            Slots = (int*)(body + layout.IndicesAt),
            NonZeros = layout.NonZeros,
        };
    }

    private ReadOnlySpan<byte> Bytes(long offset, int length) => offset >= 0 && length >= 0 && offset <= _length - length
        ? new ReadOnlySpan<byte>(_start + offset, length)
        : throw Invalid($"is cut off: {length} bytes at {offset} of {_length}");

    private FormatException Invalid(string what) => new($"It {what}, expected an Arrow file of a training set. Encode the data again with this version.");

    private readonly struct RowBatch(long firstRow, long rowCount, byte* features, float* labels, float* weights)
    {
        public readonly long FirstRow = firstRow;
        public readonly long RowCount = rowCount;
        public readonly byte* Features = features;
        public readonly float* Labels = labels;
        public readonly float* Weights = weights;

        // Of sparse rows.
        public int* Offsets { get; init; }

        public int* Slots { get; init; }

        public int NonZeros { get; init; }
    }
}
