using Apache.Arrow;
using Apache.Arrow.Ipc;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>When features are encoded as sparse ones, and what is written then.</summary>
[TestClass]
public sealed class SparseEncodingTests : IDisposable
{
    private const int Size = 2000;
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"mldist-test-{Guid.NewGuid():N}.arrow");
    private readonly MLContext _ml = new(seed: 1);

    public void Dispose() => File.Delete(_path);

    [TestMethod]
    [DataRow(Size, 125, true, DisplayName = "one in 16"), DataRow(Size, 126, false, DisplayName = "one more"), DataRow(1023, 1, false, DisplayName = "too narrow")]
    public void Encode_Auto_IsSparseWhereFewOfManySlotsAreNotZero(int size, int nonZeros, bool isSparse)
    {
        var result = Encode(Enumerable.Repeat(Row(size, [.. Enumerable.Range(1, nonZeros).Select(i => (i, 1f))]), 3), FeatureEncoding.Auto, size);

        Assert.AreEqual((isSparse, isSparse ? 3 * nonZeros : 0), (result.Dataset.Shape.IsSparse, (int)result.Dataset.NonZeroCount));
    }

    [TestMethod]
    public void Encode_Auto_IsDecidedByTheFirstThousandRows()
    {
        var (few, many) = (Row(Size, (5, 1)), Row(Size, [.. Enumerable.Range(0, Size).Select(i => (i, 2f))]));

        Assert.IsTrue(Encode([.. Enumerable.Repeat(few, 1000), .. Enumerable.Repeat(many, 200)], FeatureEncoding.Auto).Dataset.Shape.IsSparse);
        Assert.AreEqual(1200, Read().Count);
        Assert.IsFalse(Encode([.. Enumerable.Repeat(many, 1000), .. Enumerable.Repeat(few, 200)], FeatureEncoding.Auto).Dataset.Shape.IsSparse);
    }

    [TestMethod]
    public void Encode_ZerosMissingOnesAndEmptyRows_AreNotWritten()
    {
        var rows = new[]
        {
            new VBuffer<float>(Size, 4, [3, 0, float.NaN, -1], [2, 5, 7, 1999]),
            new VBuffer<float>(Size, 0, [], []),
            new VBuffer<float>(Size, [.. Enumerable.Range(0, Size).Select(i => i == 2 ? 1f : i == 9 ? float.NaN : 0)]),
        };

        var result = Encode(rows, FeatureEncoding.Sparse);

        var read = Read();
        Assert.AreEqual("2:3 1999:-1|  |2:1", string.Join('|', read.Select(r => r.Length == 0 ? "  " : string.Join(' ', r.Select(f => $"{f.Slot}:{f.Value}")))));
        var scaling = result.Features.ToScaling();
        Assert.IsEmpty(scaling.Mean);
        Assert.HasCount(Size, scaling.Scale);
        Assert.AreEqual(1 / Math.Sqrt(5), scaling.Scale[2], 1e-6); // (9 + 1) / 2
        Assert.AreEqual(1f, scaling.Scale[1999]);
        Assert.AreEqual(0f, scaling.Scale[5]);
    }

    [TestMethod]
    public void Encode_RowsThatFillABatch_BeginAnother()
    {
        var row = Row(300_000, [.. Enumerable.Range(0, 200_000).Select(i => (i, 1f))]);

        Encode(Enumerable.Repeat(row, 5), FeatureEncoding.Sparse, 300_000);

        using var reader = new ArrowFileReader(File.OpenRead(_path));
        var sizes = new List<int>();
        while (reader.ReadNextRecordBatch() is { } batch)
            sizes.Add(batch.Length);
        CollectionAssert.AreEqual(new[] { 2, 2, 1 }, sizes);
    }

    [TestMethod]
    [DataRow(new[] { 5, 3 }), DataRow(new[] { 4, 4 }), DataRow(new[] { 3, Size }), DataRow(new[] { -1, 3 })]
    public void Encode_IndicesThatDoNotRise_NamesTheRow(int[] indices)
    {
        foreach (var form in Enum.GetValues<FeatureEncoding>())
        {
            var error = Assert.ThrowsExactly<InvalidDataException>(() => Encode([Row(Size, (1, 1)), new VBuffer<float>(Size, 2, [1, 2], indices)], form));
            StringAssert.Contains(error.Message, "at row 1 that do not rise from 0 to below 2,000");
        }
    }

    private EncodingResult Encode(IEnumerable<VBuffer<float>> rows, FeatureEncoding form, int size = Size)
    {
        var definition = SchemaDefinition.Create(typeof(Example));
        definition["Features"].ColumnType = new VectorDataViewType(NumberDataViewType.Single, size);
        var data = _ml.Data.LoadFromEnumerable(rows.Select((r, i) => new Example { Features = r, Value = i }), definition);
        using var channel = ((IChannelProvider)_ml).Start("test");
        return new DatasetEncoder(new TrainingColumns(MlTask.Regression, "Features", "Value", null), size, 1, channel, TimeProvider.System).Encode(data, _path, isTraining: true, CancellationToken.None, form);
    }

    private static VBuffer<float> Row(int size, params (int Slot, float Value)[] features) => new(size, features.Length, [.. features.Select(f => f.Value)], [.. features.Select(f => f.Slot)]);

    private List<(int Slot, float Value)[]> Read()
    {
        using var reader = new ArrowFileReader(File.OpenRead(_path));
        var rows = new List<(int, float)[]>();
        while (reader.ReadNextRecordBatch() is { } batch)
        {
            var list = (ListArray)batch.Column(0);
            var pairs = (StructArray)list.Values;
            for (var i = 0; i < batch.Length; i++)
                rows.Add([.. Enumerable.Range(list.ValueOffsets[i], list.ValueOffsets[i + 1] - list.ValueOffsets[i]).Select(f => (((Int32Array)pairs.Fields[0]).GetValue(f)!.Value, ((FloatArray)pairs.Fields[1]).GetValue(f)!.Value))]);
        }

        return rows;
    }

    private sealed class Example
    {
        public VBuffer<float> Features { get; set; }

        public float Value { get; set; }
    }
}
