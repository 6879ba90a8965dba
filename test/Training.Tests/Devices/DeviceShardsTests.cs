using MLDistributed.Collectives;
using MLDistributed.Training.Devices;

namespace Training.Tests.Devices;

[TestClass]
public sealed class DeviceShardsTests
{
    [TestMethod]
    [DataRow(1L, 1, 1L), DataRow(1L, 3, 100L), DataRow(2L, 3, 1L), DataRow(5L, 3, 2L), DataRow(12L, 3, 4L), DataRow(339L, 2, 100L), DataRow(340L, 3, 64L)]
    [DataRow(1_000_003L, 7, 4096L), DataRow(1_000_003L, 8, 1L << 22), DataRow(20L, 2, 1L), DataRow(0L, 2, 4L)]
    public void Part_OfAllRanks_CoversEachParameterOnce(long length, int ranks, long blockLength)
    {
        var all = Enumerable.Range(0, ranks).Select(r => DeviceShards.Of(length, r, ranks, blockLength)).ToArray();
        var at = 0L;
        for (var block = 0L; block < all[0].BlockCount; block++)
            foreach (var shards in all)
            {
                var part = shards.Part(block);
                Assert.AreEqual((at, true), (part.Start, part.Count >= 0 && part.Count <= shards.PartLength), $"Rank {shards.Rank} in block {block}");
                at = part.End;
            }

        Assert.AreEqual(length, at);
        Assert.IsLessThanOrEqualTo(Math.Max(blockLength, 1) + ranks, all[0].BlockLength);
        // A number for each rank and block at most that is nobody's, and no block of such alone.
        Assert.IsLessThanOrEqualTo(ranks * all[0].BlockCount, all[0].PaddedLength - length);
        Assert.IsTrue(length == 0 || all[0].PaddedLength - all[0].BlockLength < length);
    }

    [TestMethod]
    public void Of_ARankAlone_HasTheWholeInOnePiece()
    {
        var shards = DeviceShards.Of(339, 0, 1, 339);
        Assert.AreEqual((1L, 339L, new Shard(0, 339)), (shards.BlockCount, shards.PaddedLength, shards.Part(0)));
    }
}
