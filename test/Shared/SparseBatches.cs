using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using MLDistributed.Protocol;

namespace MLDistributed.Tests.Shared;

/// <summary>Sparse rows as the format has them.</summary>
internal static class SparseBatches
{
    public static RecordBatch Make(int size, IReadOnlyList<(int Slot, float Value)[]> rows, IEnumerable<float> labels)
    {
        var schema = DatasetSchema.Create(new DatasetShape(size, HasWeights: false, IsSparse: true));
        var list = (ListType)schema.FieldsList[0].DataType;
        var all = rows.SelectMany(r => r).ToArray();
        var offsets = new ArrowBuffer.Builder<int>().Append(0);
        var end = 0;
        foreach (var row in rows)
            offsets.Append(end += row.Length);
        var pairs = new StructArray(list.ValueDataType, all.Length,
            [new Int32Array.Builder().AppendRange(all.Select(f => f.Slot)).Build(), new FloatArray.Builder().AppendRange(all.Select(f => f.Value)).Build()], ArrowBuffer.Empty, 0);
        return new RecordBatch(schema, [new ListArray(list, rows.Count, offsets.Build(), pairs, ArrowBuffer.Empty, 0), new FloatArray.Builder().AppendRange(labels).Build()], rows.Count);
    }

    /// <summary>Writes an Arrow file of some batches.</summary>
    public static void Write(string path, params IEnumerable<RecordBatch> batches)
    {
        using var stream = File.Create(path);
        ArrowFileWriter? writer = null;
        foreach (var batch in batches)
        {
            writer ??= new ArrowFileWriter(stream, batch.Schema, leaveOpen: true);
            writer.WriteRecordBatch(batch);
        }

        writer!.WriteEnd();
        writer.Dispose();
    }
}
