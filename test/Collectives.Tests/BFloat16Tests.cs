using System.Runtime.InteropServices;
using MLDistributed.Collectives;

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

    [TestMethod, DataRow(0), DataRow(1), DataRow(15), DataRow(16), DataRow(17), DataRow(4099)]
    public void NarrowAndWiden_InTheValuesOwnMemory_AreAsElsewhere(int length)
    {
        var random = new Random(1);
        var values = Enumerable.Range(0, length).Select(_ => random.NextSingle() * 2 - 1).ToArray();
        var (narrow, wide) = (new ushort[length], new float[length]);
        BFloat16.Narrow(values, narrow);
        BFloat16.Widen(narrow, wide);
        var halves = MemoryMarshal.Cast<float, ushort>(values.AsSpan())[..length];
        BFloat16.Narrow(values, halves);
        CollectionAssert.AreEqual(narrow, halves.ToArray());
        BFloat16.Widen(halves, values);
        CollectionAssert.AreEqual(wide, values);
    }
}
