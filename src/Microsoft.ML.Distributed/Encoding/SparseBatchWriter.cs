using System.Runtime.InteropServices;
using Apache.Arrow;
using Apache.Arrow.Types;
using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Rows that name their non-zero features alone. A missing one (NaN) counts as 0, as an explicit 0 does: neither is written.</summary>
internal sealed class SparseBatchWriter(Stream file, DatasetShape shape, bool isTraining) : BatchWriter(file, shape)
{
    private readonly byte[] _offsets = new byte[(DatasetSchema.MostRows(shape) + 1) * sizeof(int)];
    private readonly SparseStatistics? _statistics = isTraining ? new SparseStatistics(shape.FeatureSize) : null;
    private byte[] _indices = new byte[sizeof(int) << 10];
    private byte[] _values = new byte[sizeof(float) << 10];
    private int _count;
    private long _written;

    public override IFeatureStatistics? Statistics => _statistics;

    public override long NonZeroCount => _written + _count;

    /// <summary>Whether a feature says something: is neither 0 nor missing.</summary>
    public static bool Counts(float value) => value is not 0 && !float.IsNaN(value);

    // Explicit zeros count here, so that nobody looks through a row twice.
    protected override bool HasRoom(in VBuffer<float> features) => _count + features.GetValues().Length <= DatasetSchema.MostNonZeros(2, Shape.FeatureSize) || _count + CountOf(in features) <= DatasetSchema.MostNonZeros(2, Shape.FeatureSize);

    protected override void Put(in VBuffer<float> features)
    {
        var values = features.GetValues();
        var slots = features.GetIndices();
        Reserve(_count + values.Length);
        var indices = Ints(_indices);
        var kept = Floats(_values);
        var first = _count;
        for (var i = 0; i < values.Length; i++)
        {
            if (!Counts(values[i]))
                continue;
            indices[_count] = features.IsDense ? i : slots[i];
            kept[_count++] = values[i];
        }

        if (_count - first > DatasetSchema.MaxNonZerosOfRow)
            throw new InvalidDataException($"A row has {_count - first:N0} features that are not zero, expected at most {DatasetSchema.MaxNonZerosOfRow:N0} as sparse ones. Set FeatureEncoding to Dense, or take fewer features.");
        Ints(_offsets)[Rows + 1] = _count;
    }

    protected override IArrowArray Take()
    {
        _statistics?.Add(Ints(_indices)[.._count], Floats(_values)[.._count]);
        var list = (ListType)Schema.GetFieldByIndex(0).DataType;
        var pairs = new StructArray(list.ValueDataType, _count, [new Int32Array(Buffer(_indices, _count), ArrowBuffer.Empty, _count, 0, 0), Floats(_values, _count)], ArrowBuffer.Empty, 0);
        var rows = new ListArray(list, Rows, Buffer(_offsets, Rows + 1), pairs, ArrowBuffer.Empty, 0);
        _written += _count;
        _count = 0;
        return rows;
    }

    private static Span<int> Ints(byte[] bytes) => MemoryMarshal.Cast<byte, int>(bytes.AsSpan());

    private static int CountOf(in VBuffer<float> features)
    {
        var count = 0;
        foreach (var value in features.GetValues())
            count += Counts(value) ? 1 : 0;
        return count;
    }

    private void Reserve(int count)
    {
        if (count * (long)sizeof(float) <= _values.Length)
            return;
        var bytes = (int)Math.Min(Math.Max(2L * _values.Length, count * (long)sizeof(float)), System.Array.MaxLength);
        System.Array.Resize(ref _values, bytes);
        System.Array.Resize(ref _indices, bytes);
    }
}
