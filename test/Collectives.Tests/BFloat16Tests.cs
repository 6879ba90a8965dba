using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;

namespace Collectives.Tests;

[TestClass]
public sealed class BFloat16Tests
{
    [TestMethod]
    public void Narrow_AnyBits_IsTheNearestOfItsNeighbours()
    {
        // Every upper half with lower halves below, at and above the tie; an odd length for the loop's rest.
        var values = (from upper in Enumerable.Range(0, 1 << 16) from lower in new uint[] { 0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF } select BitConverter.UInt32BitsToSingle(((uint)upper << 16) | lower)).ToArray()[..^1];
        var narrow = new ushort[values.Length];
        var wide = new float[values.Length];
        BFloat16.Narrow(values, narrow);
        BFloat16.Widen(narrow, wide);
        for (var i = 0; i < values.Length; i++)
        {
            if (float.IsNaN(values[i]))
            {
                Assert.IsTrue(float.IsNaN(wide[i]), $"{i}");
                continue;
            }

            var below = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(values[i]) & 0xFFFF0000);
            var above = BitConverter.UInt32BitsToSingle((BitConverter.SingleToUInt32Bits(values[i]) & 0xFFFF0000) + 0x10000);
            var (toBelow, toAbove) = (Math.Abs((double)values[i] - below), Math.Abs((double)above - values[i]));
            if (float.IsInfinity(below))
                Assert.AreEqual(below, wide[i]);
            else if (float.IsInfinity(above))
                Assert.AreEqual((BitConverter.SingleToUInt32Bits(values[i]) & 0xFFFF) < 0x8000 ? below : above, wide[i]);
            else if (toBelow == toAbove)
                Assert.AreEqual(0, narrow[i] & 1, "A tie did not go to even.");
            else
                Assert.AreEqual(toBelow < toAbove ? below : above, wide[i]);
        }
    }

    [TestMethod, DataRow(1, 7), DataRow(2, 0), DataRow(2, 4099), DataRow(3, 10_001), DataRow(5, 50_001)]
    public void AllReduce_InBFloat16_IsCloseAndTheSameOnAllRanks(int world, int length)
    {
        var results = new float[world][];
        Ranks.RunCollective(world, c =>
        {
            var values = Values(c.Rank, length);
            c.AllReduce(values);
            results[c.Rank] = values;
        }, InBFloat16).ShouldSucceed();
        var terms = Enumerable.Range(0, world).Select(r => Values(r, length)).ToArray();
        for (var i = 0; i < length; i++)
        {
            // Half a unit of 8 bits for each term and for the sum.
            var bound = (terms.Sum(t => Math.Abs(t[i])) + Math.Abs(terms.Sum(t => t[i]))) / 256 + 1e-6;
            Assert.AreEqual(terms.Sum(t => (double)t[i]), results[0][i], bound);
        }

        foreach (var result in results)
            CollectionAssert.AreEqual(results[0], result);
    }

    [TestMethod]
    public void AllReduce_OtherWireTypes_FailsOnAllRanks()
    {
        var failures = Ranks.RunCollective(2, c => c.AllReduce(new float[4]), o => o.Rank == 0 ? InBFloat16(o) : o);
        foreach (var failure in failures)
            Assert.IsInstanceOfType<CollectiveMismatchException>(failure);
        StringAssert.Contains(failures[0]!.Message, "Rank 0 is in AllReduce of 4 BFloat16 values and rank 1 in AllReduce of 4 Single values");
    }

    private static SegmentOptions InBFloat16(SegmentOptions options) => options with { WireType = WireType.BFloat16 };

    private static float[] Values(int rank, int length)
    {
        var random = new Random(rank);
        return [.. Enumerable.Range(0, length).Select(_ => (float)(random.NextDouble() * 2 - 1))];
    }
}
