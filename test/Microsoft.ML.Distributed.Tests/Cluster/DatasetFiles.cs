using Apache.Arrow;
using Apache.Arrow.Ipc;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Small encoded datasets.</summary>
internal static class DatasetFiles
{
    private const int RowsPerBatch = 3;

    public static EncodedDataset Write(string path, int batches)
    {
        var shape = new DatasetShape(2, HasWeights: false);
        using var hasher = new DatasetHasher(shape);
        using var file = File.Create(path);
        using var writer = new ArrowFileWriter(file, DatasetSchema.Create(shape.FeatureSize, shape.HasWeights));
        writer.WriteStart();
        for (var i = 0; i < batches; i++)
        {
            using var batch = Batch(i);
            writer.WriteRecordBatch(batch);
            hasher.Append(batch);
        }

        writer.WriteEnd();
        return new EncodedDataset(hasher.Complete(), path, hasher.RowCount, shape);
    }

    public static byte[] Serialize(RecordBatch batch)
    {
        using var stream = new MemoryStream();
        using var writer = new ArrowStreamWriter(stream, batch.Schema);
        writer.WriteRecordBatch(batch);
        writer.WriteEnd();
        return stream.ToArray();
    }

    public static RecordBatch Deserialize(byte[] bytes) => new ArrowStreamReader(bytes).ReadNextRecordBatch();

    private static RecordBatch Batch(int index)
    {
        var schema = DatasetSchema.Create(2, hasWeights: false);
        var features = new FloatArray.Builder();
        var labels = new FloatArray.Builder();
        for (var row = 0; row < RowsPerBatch; row++)
        {
            features.Append(index).Append(row);
            labels.Append(row % 2);
        }

        var data = new ArrayData(schema.FieldsList[0].DataType, RowsPerBatch, 0, 0, [ArrowBuffer.Empty], [features.Build().Data]);
        return new RecordBatch(schema, [new FixedSizeListArray(data), labels.Build()], RowsPerBatch);
    }
}
