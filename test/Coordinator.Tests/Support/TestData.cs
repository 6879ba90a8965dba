using Apache.Arrow;
using Apache.Arrow.Types;

namespace MLDistributed.Coordinator.Tests.Support;

/// <summary>A small dataset in batches as the format wants them.</summary>
internal sealed class TestData
{
    public const int FeatureSize = 1 << 17; // 8 rows a batch

    public TestData(int batches = 3, int lastRows = 5)
    {
        var rowsPerBatch = DatasetSchema.RowsPerBatch(new DatasetShape(FeatureSize, HasWeights: false));
        Schema = DatasetSchema.Create(FeatureSize, hasWeights: false);
        Batches = [.. Enumerable.Range(0, batches).Select(i => Batch(i == batches - 1 ? lastRows : rowsPerBatch, seed: i))];
        using var hasher = new DatasetHasher(DatasetSchema.Read(Schema));
        foreach (var batch in Batches)
            hasher.Append(batch);
        RowCount = hasher.RowCount;
        Id = hasher.Complete().Text;
    }

    public string Id { get; }
    public long RowCount { get; }
    public Schema Schema { get; }
    public IReadOnlyList<RecordBatch> Batches { get; }

    public RecordBatch Batch(int rows, int seed)
    {
        var random = new Random(seed);
        var values = new FloatArray.Builder();
        for (var i = 0; i < rows * FeatureSize; i++)
            values.Append((float)(random.Next(1000) / 10.0));
        var features = new FixedSizeListArray((FixedSizeListType)Schema.FieldsList[0].DataType, rows, values.Build(), ArrowBuffer.Empty, 0);
        var labels = new FloatArray.Builder().AppendRange(Enumerable.Range(0, rows).Select(r => (float)(r % 2))).Build();
        return new RecordBatch(Schema, [features, labels], rows);
    }
}
