using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;

namespace MLDistributed.Coordinator.Tests.Support;

/// <summary>A dataset's file.</summary>
internal sealed record TestDataset(string Id, byte[] File);

/// <summary>Datasets of ten rows as files.</summary>
internal static class TestDatasets
{
    public const int Rows = 10;

    /// <summary>The one that most jobs name.</summary>
    public static TestDataset Small { get; } = Make(seed: 0);

    public static TestDataset Make(int seed, int features = 4)
    {
        var random = new Random(seed);
        var schema = DatasetSchema.Create(features, hasWeights: false);
        var values = new FloatArray.Builder().AppendRange(Enumerable.Range(0, Rows * features).Select(_ => random.NextSingle())).Build();
        var labels = new FloatArray.Builder().AppendRange(Enumerable.Range(0, Rows).Select(r => (float)(r % 2))).Build();
        using var batch = new RecordBatch(schema, [new FixedSizeListArray((FixedSizeListType)schema.FieldsList[0].DataType, Rows, values, ArrowBuffer.Empty, 0), labels], Rows);
        using var hasher = new DatasetHasher(DatasetSchema.Read(schema));
        hasher.Append(batch);
        using var file = new MemoryStream();
        using (var writer = new ArrowFileWriter(file, schema, leaveOpen: true))
        {
            writer.WriteRecordBatch(batch);
            writer.WriteEnd();
        }

        return new TestDataset(hasher.Complete().Text, file.ToArray());
    }
}
