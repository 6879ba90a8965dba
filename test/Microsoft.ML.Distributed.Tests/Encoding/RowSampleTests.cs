namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class RowSampleTests
{
    private const int Most = 512;

    [TestMethod]
    public void Add_NoMoreThanAreKept_KeepsAll()
    {
        var sample = Sample(Most, block: Most);

        Assert.AreEqual(Most, sample.Count);
        CollectionAssert.AreEqual(Enumerable.Range(0, Most).Select(i => (float)i).ToArray(), sample.Sorted(0));
    }

    [TestMethod]
    [DataRow(Most + 1), DataRow(10_000), DataRow(100_000)]
    public void Add_MoreThanAreKept_KeepsSomeOfAllParts(int rows)
    {
        var sample = Sample(rows, block: 1000);

        Assert.IsInRange(Most / 3, Most, sample.Count);
        var values = sample.Sorted(0);
        CollectionAssert.AllItemsAreUnique(values);
        for (var tenth = 1; tenth < 10; tenth++)
            Assert.AreEqual(0.1 * tenth, values.Count(v => v < 0.1 * tenth * rows) / (double)values.Length, 0.08, $"{tenth} tenths");
        CollectionAssert.AreEqual(values.Select(v => -v).Reverse().ToArray(), sample.Sorted(1), "Values of a row stay together.");
    }

    [TestMethod]
    public void Add_InOtherBlocks_KeepsTheSame() => CollectionAssert.AreEqual(Sample(20_000, block: 7).Sorted(0), Sample(20_000, block: 20_000).Sorted(0));

    [TestMethod]
    public void Sorted_MissingValues_AreLeftOut()
    {
        var sample = new RowSample(2, Most);
        sample.Add([3, float.NaN, float.NaN, 1, 2, float.NaN]);

        CollectionAssert.AreEqual(new float[] { 2, 3 }, sample.Sorted(0));
        CollectionAssert.AreEqual(new float[] { 1 }, sample.Sorted(1));
    }

    // Rows of their number, and that below 0.
    private static RowSample Sample(int rows, int block)
    {
        var sample = new RowSample(2, Most);
        foreach (var numbers in Enumerable.Range(0, rows).Chunk(block))
            sample.Add(numbers.SelectMany(i => new float[] { i, -i }).ToArray());
        return sample;
    }
}
