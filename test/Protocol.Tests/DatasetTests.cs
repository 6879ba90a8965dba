using Apache.Arrow;
using Apache.Arrow.Types;
using MLDistributed.Protocol;

namespace Protocol.Tests;

[TestClass]
public sealed class DatasetTests
{
    [TestMethod]
    [DataRow(3, true, FeatureElement.Float32)]
    [DataRow(1, false, FeatureElement.Float32)]
    [DataRow(784, true, FeatureElement.UInt8)]
    public void Schema_Created_ReadsBackItsShape(int featureSize, bool hasWeights, FeatureElement element)
    {
        var shape = new DatasetShape(featureSize, hasWeights, element);

        Assert.AreEqual(shape, DatasetSchema.Read(DatasetSchema.Create(shape)));
    }

    [TestMethod]
    public void Schema_OfAnotherTable_IsRefusedWithItsColumns()
    {
        var schema = new Schema.Builder().Field(new Field("x", Int32Type.Default, nullable: false)).Build();

        var error = Assert.ThrowsExactly<FormatException>(() => DatasetSchema.Read(schema));

        StringAssert.Contains(error.Message, "x: int32");
    }

    [TestMethod]
    [DataRow(1, 65_536, FeatureElement.Float32)]
    [DataRow(64, 16_384, FeatureElement.Float32)]
    [DataRow(64, 65_536, FeatureElement.UInt8)]
    [DataRow(1024, 4096, FeatureElement.UInt8)]
    [DataRow(100_000_000, 1, FeatureElement.Float32)]
    public void RowsPerBatch_OfAWidth_IsAboutFourMegabytes(int featureSize, int rows, FeatureElement element) =>
        Assert.AreEqual(rows, DatasetSchema.RowsPerBatch(new DatasetShape(featureSize, HasWeights: false, element)));

    [TestMethod]
    public void Hash_OfTheSameRows_IsTheSame() => Assert.AreEqual(Hash(2, Batch([1, 2, 3, 4], [0, 1])), Hash(2, Batch([1, 2, 3, 4], [0, 1])));

    [TestMethod]
    public void Hash_OfAnotherLabelOrderOrSplit_IsAnother()
    {
        var hashes = new[]
        {
            Hash(2, Batch([1, 2, 3, 4], [0, 1])),
            Hash(2, Batch([1, 2, 3, 4], [1, 0])),
            Hash(2, Batch([3, 4, 1, 2], [0, 1])),
            Hash(2, Batch([1, 2], [0]), Batch([3, 4], [1])),
            Hash(2),
        };

        CollectionAssert.AllItemsAreUnique(hashes);
    }

    [TestMethod]
    public void Hash_OfDatasetsOfEarlierReleases_IsWhatItWas() =>
        Assert.AreEqual("528eb551e44f306e61c5c204093a1e4c69a2867add0fb50f90f55c0d411517ff", Hash(2, Batch([1, 2, 3, 4], [0, 1])));

    private static string Hash(int featureSize, params RecordBatch[] batches)
    {
        using var hasher = new DatasetHasher(new DatasetShape(featureSize, HasWeights: false));
        foreach (var batch in batches)
            hasher.Append(batch);
        return hasher.Complete().Text;
    }

    private static RecordBatch Batch(float[] features, float[] labels)
    {
        var type = (FixedSizeListType)DatasetSchema.Create(features.Length / labels.Length, hasWeights: false).FieldsList[0].DataType;
        var list = new FixedSizeListArray(type, labels.Length, new FloatArray.Builder().AppendRange(features).Build(), ArrowBuffer.Empty);
        return new RecordBatch(DatasetSchema.Create(type.ListSize, hasWeights: false), [list, new FloatArray.Builder().AppendRange(labels).Build()], labels.Length);
    }
}
