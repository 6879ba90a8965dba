using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using MLDistributed.Protocol;

namespace Training.Tests;

/// <summary>Synthetic training sets, written by Apache.Arrow itself.</summary>
internal static class Datasets
{
    public static void Write(string path, int featureSize, int rowCount, Func<int, float[]> features, Func<int, float> label, Func<int, float>? weight = null, int rowsPerBatch = 100, FeatureElement element = FeatureElement.Float32)
    {
        using var stream = File.Create(path);
        var schema = DatasetSchema.Create(new DatasetShape(featureSize, weight is not null, element));
        using var writer = new ArrowFileWriter(stream, schema);
        writer.WriteStart();
        for (var start = 0; start < rowCount; start += rowsPerBatch)
        {
            var rows = Enumerable.Range(start, Math.Min(rowsPerBatch, rowCount - start)).ToArray();
            IArrowArray values = element == FeatureElement.UInt8
                ? new UInt8Array.Builder().AppendRange(rows.SelectMany(features).Select(f => (byte)f)).Build()
                : new FloatArray.Builder().AppendRange(rows.SelectMany(features)).Build();
            var list = new FixedSizeListArray(new ArrayData(schema.FieldsList[0].DataType, rows.Length, 0, 0, [ArrowBuffer.Empty], [values.Data]));
            var columns = new List<IArrowArray> { list, new FloatArray.Builder().AppendRange(rows.Select(label)).Build() };
            if (weight is not null)
                columns.Add(new FloatArray.Builder().AppendRange(rows.Select(weight)).Build());
            using var batch = new RecordBatch(schema, columns, rows.Length);
            writer.WriteRecordBatch(batch);
        }

        writer.WriteEnd();
    }

    /// <summary>Three overlapping clouds of points.</summary>
    public static void WriteClouds(string path, int rowCount, Func<int, float>? weight = null, ulong seed = 7)
    {
        var random = new Random((int)seed);
        var rows = Enumerable.Range(0, rowCount).Select(i => (Label: i % 3, Features: Enumerable.Range(0, 5).Select(j => (float)(random.NextDouble() * 2 - 1 + (j == i % 3 ? 1.2 : 0))).ToArray())).ToArray();
        Write(path, 5, rowCount, i => rows[i].Features, i => rows[i].Label, weight, rowsPerBatch: 64);
    }
}
