using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using MLDistributed.Protocol;

namespace Worker.Tests.Fakes;

internal static class TestDatasets
{
    /// <summary>A small dataset as the client encodes it, with its id.</summary>
    public static async Task<(string Id, byte[] Content)> CreateAsync(int rows, float first = 0)
    {
        const int features = 2;
        var schema = DatasetSchema.Create(features, hasWeights: false);
        var shape = new DatasetShape(features, HasWeights: false);
        using var hasher = new DatasetHasher(shape);
        var stream = new MemoryStream();
        using (var writer = new ArrowFileWriter(stream, schema, leaveOpen: true))
        {
            for (var row = 0; row < rows; row += DatasetSchema.RowsPerBatch(shape))
            {
                var count = Math.Min(rows - row, DatasetSchema.RowsPerBatch(shape));
                var values = new FloatArray.Builder().AppendRange(Enumerable.Range(row * features, count * features).Select(i => first + i)).Build();
                var list = new FixedSizeListArray(new ArrayData((FixedSizeListType)schema.FieldsList[0].DataType, count, 0, 0, [ArrowBuffer.Empty], [values.Data]));
                var labels = new FloatArray.Builder().AppendRange(Enumerable.Range(row, count).Select(i => i % 2f)).Build();
                using var batch = new RecordBatch(schema, [list, labels], count);
                hasher.Append(batch);
                await writer.WriteRecordBatchAsync(batch);
            }

            await writer.WriteEndAsync();
        }

        return (hasher.Complete().Text, stream.ToArray());
    }
}
