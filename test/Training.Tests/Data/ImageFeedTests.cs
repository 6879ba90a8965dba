using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using TorchSharp;
using Training.Tests.Models.Images;
using static TorchSharp.torch;

namespace Training.Tests.Data;

[TestClass]
public sealed class ImageFeedTests
{
    [TestMethod]
    public void Change_OfARow_IsAFunctionOfSeedEpochAndRow()
    {
        var image = ImageNetworkTests.Spec(i => i.Augmentation = new ImageAugmentation { Shift = 2, LeastArea = 0.5, Flip = 0.5, Brightness = 0.2, Mixup = 0.3 }).Module.Image;
        ImageChange Change(ulong seed, int epoch, long row) => ImageChange.Of(image, seed, epoch, row);

        Assert.AreEqual(Change(1, 2, 3), Change(1, 2, 3));
        CollectionAssert.AllItemsAreUnique(new[] { Change(1, 2, 3), Change(2, 2, 3), Change(1, 3, 3), Change(1, 2, 4) });
        var many = Enumerable.Range(0, 4000).Select(r => Change(1, 0, r)).ToList();
        Assert.AreEqual(0.5, many.Average(c => c.IsFlipped ? 1.0 : 0), 0.05);
        Assert.IsTrue(many.TrueForAll(c => c.Height * c.Width >= 0.5 * 120 - 1e-9 && c.Height <= 12 && c.Top >= -2 && c.Top + c.Height <= 14));
        Assert.IsTrue(many.TrueForAll(c => c.Brightness is >= 0.8f and <= 1.2f && c.Contrast == 1 && c.Share is >= 0.5 and <= 1 && c.Partner is >= 0 and < 1));
        // The mean of the larger share of two: of Beta(0.3, 0.3) it is 0.85.
        Assert.AreEqual(0.85, many.Average(c => c.Share), 0.03);
    }

    [TestMethod]
    public void Load_WithoutAugmentation_NormalizesChannels()
    {
        using var folder = new TempFolder();
        ImageNetworkTests.Write(folder["data"], 4);
        var spec = ImageNetworkTests.Spec();

        var row = Rows(folder["data"], spec, epoch: 0)[2];

        using var file = new DatasetFile(folder["data"]);
        for (var i = 0; i < 360; i++)
            Assert.AreEqual((Pixel(file, 2, i) - spec.Module.Image.Mean[i / 120]) * 0.02f, row[i], 1e-6);
    }

    [TestMethod]
    public void Load_ShiftedAndFlipped_HasTheSamePixelsElsewhereAndTheMeanAtTheEdge()
    {
        using var folder = new TempFolder();
        ImageNetworkTests.Write(folder["data"], 30);
        var spec = ImageNetworkTests.Spec(i => i.Augmentation = new ImageAugmentation { Shift = 3, Flip = 0.5 });
        var (rows, plain) = (Rows(folder["data"], spec, epoch: 1), Rows(folder["data"], spec, epoch: null));

        for (var r = 0; r < rows.Length; r++)
        {
            var change = ImageChange.Of(spec.Module.Image, spec.Seed, 1, r);
            for (var i = 0; i < 360; i++)
            {
                var (c, y, x) = (i / 120, i % 120 / 10, i % 10);
                var (fromY, fromX) = (y + (int)change.Top, (change.IsFlipped ? 9 - x : x) + (int)change.Left);
                var expected = fromY is >= 0 and < 12 && fromX is >= 0 and < 10 ? plain[r][(c * 120) + (fromY * 10) + fromX] : 0;
                Assert.AreEqual(expected, rows[r][i], 1e-6, $"row {r}, channel {c}, {y}, {x}");
            }
        }
    }

    [TestMethod]
    public void Load_AnyWindowOfAnImageOfOneColor_IsThatColor()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 360, 20, _ => [.. Enumerable.Repeat(77f, 360)], i => i % 3, element: FeatureElement.UInt8);
        var spec = ImageNetworkTests.Spec(i => i.Augmentation = new ImageAugmentation { LeastArea = 0.2, Flip = 0.5, Contrast = 0.5, Saturation = 0.5 });

        foreach (var row in Rows(folder["data"], spec, epoch: 3))
            for (var i = 0; i < 360; i++)
                Assert.AreEqual((77 - spec.Module.Image.Mean[i / 120]) * 0.02f, row[i], 1e-4);
    }

    [TestMethod]
    public void Load_Mixed_IsTheSumOfTwoRowsAndOfTheirLabels()
    {
        using var folder = new TempFolder();
        ImageNetworkTests.Write(folder["data"], 30);
        var spec = ImageNetworkTests.Spec(i => i.Augmentation = new ImageAugmentation { Mixup = 0.5 });
        using var file = new DatasetFile(folder["data"]);
        using var feed = new BatchFeed(file, spec, 0, 30, CPU);
        var plain = Rows(folder["data"], spec, epoch: null);

        var batch = feed.Load(Request(epoch: 4));

        Assert.AreEqual(30, batch.WeightSum, 1e-4);
        for (var r = 0; r < 30; r++)
        {
            var change = ImageChange.Of(spec.Module.Image, spec.Seed, 4, r);
            var other = (int)(change.Partner * 30);
            Assert.AreEqual((other % 3, r % 3), ((int)batch.OtherLabels![r].ToInt64(), (int)batch.Labels[r].ToInt64()));
            Assert.AreEqual(change.Share, batch.Weights![r].ToSingle(), 1e-6);
            Assert.AreEqual(1 - change.Share, batch.OtherWeights![r].ToSingle(), 1e-6);
            Assert.AreEqual((change.Share * plain[r][5]) + ((1 - change.Share) * plain[other][5]), batch.Features[r, 5].ToSingle(), 1e-5);
        }

        var validated = feed.Load(Request(epoch: null));
        Assert.IsNull(validated.OtherLabels);
        Assert.AreEqual(plain[7][5], validated.Features[7, 5].ToSingle());
    }

    private static BatchRequest Request(int? epoch) => new(r => r, 0, new Shard(0, 30), 30, epoch, 30);

    private static unsafe float Pixel(DatasetFile file, long row, int at) => file.Bytes(row)[at];

    private static float[][] Rows(string path, JobSpec spec, int? epoch)
    {
        using var file = new DatasetFile(path);
        var count = (int)file.RowCount;
        using var feed = new BatchFeed(file, spec, 0, count, CPU);
        var batch = feed.Load(new BatchRequest(r => r, 0, new Shard(0, count), count, epoch, count));
        var all = batch.Features.data<float>().ToArray();
        return [.. Enumerable.Range(0, count).Select(r => all[(r * file.FeatureSize)..((r + 1) * file.FeatureSize)])];
    }
}
