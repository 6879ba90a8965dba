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
        var values = new FloatArray.Builder().AppendRange(Enumerable.Range(0, rows * features).Select(i => first + i)).Build();
        var list = new FixedSizeListArray(new ArrayData((FixedSizeListType)schema.FieldsList[0].DataType, rows, 0, 0, [ArrowBuffer.Empty], [values.Data]));
        var labels = new FloatArray.Builder().AppendRange(Enumerable.Range(0, rows).Select(i => i % 2f)).Build();
        using var batch = new RecordBatch(schema, [list, labels], rows);
        using var hasher = new DatasetHasher(new DatasetShape(features, HasWeights: false));
        hasher.Append(batch);
        var stream = new MemoryStream();
        using (var writer = new ArrowFileWriter(stream, schema, leaveOpen: true))
        {
            await writer.WriteRecordBatchAsync(batch);
            await writer.WriteEndAsync();
        }

        return (hasher.Complete().Text, stream.ToArray());
    }
}
