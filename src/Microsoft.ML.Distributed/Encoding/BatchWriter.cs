using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Apache.Arrow;
using Apache.Arrow.Ipc;
using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The current batch of rows: its memory is Arrow's arrays, filled again and again.</summary>
internal abstract class BatchWriter : IDisposable
{
    private readonly byte[] _labels;
    private readonly byte[] _weights;
    private readonly int _capacity;
    private readonly DatasetHasher _hasher;
    private readonly ArrowFileWriter _writer;

    private protected BatchWriter(Stream file, DatasetShape shape)
    {
        Shape = shape;
        _capacity = DatasetSchema.MostRows(shape);
        _labels = new byte[_capacity * sizeof(float)];
        _weights = shape.HasWeights ? new byte[_labels.Length] : [];
        Schema = DatasetSchema.Create(shape);
        _hasher = new DatasetHasher(shape);
        _writer = new ArrowFileWriter(file, Schema, leaveOpen: true);
        Write(_writer.WriteStart);
    }

    /// <summary>The rows' form.</summary>
    public DatasetShape Shape { get; }

    /// <summary>Of sparse rows: how many features they name so far.</summary>
    public virtual long NonZeroCount => 0;

    /// <summary>Of training data's features; null of others.</summary>
    public abstract IFeatureStatistics? Statistics { get; }

    /// <summary>Rows in the batch so far.</summary>
    protected int Rows { get; private set; }

    protected Schema Schema { get; }

    /// <summary>The labels of the batch's rows.</summary>
    protected ReadOnlySpan<float> Labels => Floats(_labels)[..Rows];

    /// <summary>The writer of a form of rows.</summary>
    /// <param name="file">Where they go.</param>
    /// <param name="shape">Theirs.</param>
    /// <param name="isTraining">Whether statistics are wanted.</param>
    public static BatchWriter Create(Stream file, DatasetShape shape, bool isTraining) => shape.IsSparse ? new SparseBatchWriter(file, shape, isTraining) : new DenseBatchWriter(file, shape, isTraining);

    /// <summary>Adds a row; true when that wrote a batch.</summary>
    public bool Add(in VBuffer<float> features, float label, float weight)
    {
        var isWritten = Rows > 0 && !HasRoom(in features);
        if (isWritten)
            Flush();
        Put(in features);
        Floats(_labels)[Rows] = label;
        if (Shape.HasWeights)
            Floats(_weights)[Rows] = weight;
        if (++Rows < _capacity)
            return isWritten;
        Flush();
        return true;
    }

    /// <summary>Writes what is left, and the file's end.</summary>
    public (ContentHash Id, long RowCount) Complete()
    {
        if (Rows > 0)
            Flush();
        Write(_writer.WriteEnd);
        var count = _hasher.RowCount;
        return (_hasher.Complete(), count);
    }

    public void Dispose()
    {
        _writer.Dispose();
        _hasher.Dispose();
    }

    protected static Span<float> Floats(byte[] bytes) => MemoryMarshal.Cast<byte, float>(bytes.AsSpan());

    protected static FloatArray Floats(byte[] bytes, int count) => new(Buffer(bytes, count), ArrowBuffer.Empty, count, 0, 0);

    protected static ArrowBuffer Buffer(byte[] bytes, int count) => new(bytes.AsMemory(0, count * sizeof(float)));

    /// <summary>Whether a row fits the batch, which has some.</summary>
    protected abstract bool HasRoom(in VBuffer<float> features);

    /// <summary>Adds the features of row <see cref="Rows"/>.</summary>
    protected abstract void Put(in VBuffer<float> features);

    /// <summary>The batch's features, of which the statistics hear; the next batch begins.</summary>
    protected abstract IArrowArray Take();

    private void Flush()
    {
        var features = Take();
        IArrowArray[] arrays = Shape.HasWeights ? [features, Floats(_labels, Rows), Floats(_weights, Rows)] : [features, Floats(_labels, Rows)];
        using var batch = new RecordBatch(Schema, arrays, Rows);
        _hasher.Append(batch);
        Write(() => _writer.WriteRecordBatch(batch));
        Rows = 0;
    }

    // The source may fail with the same exceptions; these say which file it was, and what to do.
    private void Write(Action write)
    {
        try
        {
            write();
        }
        catch (IOException e) when (e is not (FileNotFoundException or FileLoadException)) // of an assembly, for want of handles
        {
            throw new IOException($"Dataset file cannot be written up to row {_hasher.RowCount:N0} ({e.Message.TrimEnd('.')}), expected room for all rows as {Shape.ElementBytes}-byte numbers. Free space there, or set TMPDIR to a folder with more.", e);
        }
    }
}

/// <summary>Rows with all their features.</summary>
internal sealed class DenseBatchWriter(Stream file, DatasetShape shape, bool isTraining) : BatchWriter(file, shape)
{
    private readonly byte[] _features = GC.AllocateUninitializedArray<byte>(DatasetSchema.MostRows(shape) * shape.FeatureSize * shape.ElementBytes);
    private readonly float[] _row = shape.Element == FeatureElement.UInt8 ? new float[shape.FeatureSize] : [];
    private readonly FeatureStatistics? _statistics = isTraining && shape.Element == FeatureElement.Float32 ? new FeatureStatistics(shape.FeatureSize) { Levels = new FeatureLevels(shape.FeatureSize, AutomaticOptions.MostLevels) } : null;

    public override IFeatureStatistics? Statistics => _statistics;

    protected override bool HasRoom(in VBuffer<float> features) => true;

    protected override void Put(in VBuffer<float> features)
    {
        if (Shape.Element == FeatureElement.Float32)
        {
            features.CopyTo(Floats(_features).Slice(Rows * Shape.FeatureSize, Shape.FeatureSize));
            return;
        }

        features.CopyTo(_row);
        TensorPrimitives.ConvertTruncating<float, byte>(_row, _features.AsSpan(Rows * Shape.FeatureSize, Shape.FeatureSize));
    }

    protected override IArrowArray Take()
    {
        var values = Rows * Shape.FeatureSize;
        _statistics?.Add(Floats(_features)[..values], Labels);
        IArrowArray items = Shape.Element == FeatureElement.UInt8 ? new UInt8Array(new ArrowBuffer(_features.AsMemory(0, values)), ArrowBuffer.Empty, values, 0, 0) : Floats(_features, values);
        return new FixedSizeListArray(Schema.GetFieldByIndex(0).DataType, Rows, items, ArrowBuffer.Empty, 0, 0);
    }
}
