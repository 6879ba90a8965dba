using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using TorchSharp;

namespace Training.Tests.Data;

[TestClass]
public sealed class OrderTests
{
    [TestMethod, DataRow(1), DataRow(2), DataRow(3), DataRow(16), DataRow(17), DataRow(1000), DataRow(65_537)]
    public void Permutation_AnyCount_HasEachOnce(int count)
    {
        var permutation = new Permutation(5, 1, count);
        var seen = new bool[count];
        for (var i = 0; i < count; i++)
            seen[permutation[i]] = true;
        Assert.IsTrue(seen.All(s => s));
    }

    [TestMethod]
    public void Permutation_OtherSeedOrEpoch_IsAnotherOrder()
    {
        long[] Take(ulong seed, ulong stream) => [.. Enumerable.Range(0, 100).Select(i => new Permutation(seed, stream, 100)[i])];
        CollectionAssert.AreEqual(Take(1, 0), Take(1, 0));
        CollectionAssert.AreNotEqual(Take(1, 0), Take(2, 0));
        CollectionAssert.AreNotEqual(Take(1, 0), Take(1, 1));
    }

    [TestMethod]
    public void Permutation_OverManyStreams_PutsEachThingEverywhere()
    {
        var counts = new int[20, 20];
        for (ulong stream = 0; stream < 20_000; stream++)
        {
            var permutation = new Permutation(3, stream, 20);
            for (var i = 0; i < 20; i++)
                counts[i, permutation[i]]++;
        }

        // 1,000 expected each; 6 standard deviations.
        foreach (var count in counts)
            Assert.IsTrue(Math.Abs(count - 1000) < 190, $"{count}");
    }

    [TestMethod]
    public void Permutation_HugeCount_StaysInside()
    {
        var permutation = new Permutation(1, 0, 5_000_000_000_000);
        for (var i = 0L; i < 1000; i++)
            Assert.IsTrue(permutation[i * 4_000_000_000] is >= 0 and < 5_000_000_000_000);
    }

    [TestMethod, DataRow(100, 0.2, 20), DataRow(3, 0.01, 1), DataRow(3, 0.99, 2), DataRow(1, 0.5, 0), DataRow(10, 0.0, 0)]
    public void RowOrder_WithValidation_EachRowIsInOnePart(int rows, double fraction, int validation)
    {
        var order = new RowOrder(9, rows, fraction);
        Assert.AreEqual(validation, order.ValidationCount);
        var heldOut = Enumerable.Range(0, validation).Select(i => order.ValidationRow(i)).ToArray();
        for (var epoch = 0; epoch < 3; epoch++)
        {
            var trained = Enumerable.Range(0, rows - validation).Select(i => order.TrainingRow(epoch, i));
            CollectionAssert.AreEqual(Enumerable.Range(0, rows).Select(i => (long)i).ToArray(), heldOut.Concat(trained).Order().ToArray());
        }
    }

    [TestMethod, DataRow(1), DataRow(2), DataRow(3), DataRow(5)]
    public unsafe void BatchFeed_AnyWorldSize_EachRowOnceAnEpochInTheSameSteps(int world)
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 2, 103, i => [i, float.NaN], i => 10 * i, i => i);
        using var file = new DatasetFile(folder["data"]);
        var order = new RowOrder(4, 103, 0);
        var spec = new JobSpec
        {
            Task = MlTask.Regression,
            GlobalBatchSize = 20,
            Data = new DataSpec { Features = new FeatureScaling { Mean = { 1, 1 }, Scale = { 2, 2 } }, Label = new LabelScaling { Mean = 5, Scale = 0.1f } },
        };
        for (var start = 0; start < 103; start += 20)
        {
            var rows = new List<long>();
            var expected = Enumerable.Range(start, Math.Min(20, 103 - start)).Select(i => order.TrainingRow(1, i)).ToArray();
            for (var rank = 0; rank < world; rank++)
            {
                var split = BatchSplit.OverRanks(spec.GlobalBatchSize, 0, rank, world);
                using var feed = new BatchFeed(file, spec, 0, split.MaxRows(spec.GlobalBatchSize), torch.CPU);
                using var scope = torch.NewDisposeScope();
                var batch = feed.Load(new BatchRequest(i => order.TrainingRow(1, i), start, split.Rows(rank, expected.Length), expected.Length));
                Assert.AreEqual(Shard.Of(expected.Length, rank, world), batch.Rows);
                if (batch.Rows.Count == 0)
                    continue;
                var features = batch.Features.data<float>().ToArray();
                var labels = batch.Labels.data<float>().ToArray();
                for (var i = 0; i < batch.Rows.Count; i++)
                {
                    var row = expected[rows.Count];
                    rows.Add(row);
                    Assert.AreEqual((row - 1) * 2f, features[2 * i]);
                    Assert.AreEqual(0f, features[2 * i + 1]);
                    Assert.AreEqual((10 * row - 5) * 0.1f, labels[i], 1e-4f);
                }

                Assert.AreEqual(rows.TakeLast((int)batch.Rows.Count).Sum(), batch.WeightSum);
            }

            CollectionAssert.AreEqual(expected, rows);
        }
    }
}
