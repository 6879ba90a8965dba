using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using static TorchSharp.torch;

namespace Training.Tests.Models;

[TestClass]
public sealed unsafe class DropoutTensorsTests
{
    // The host's own arithmetic is the other implementation. Rows beyond 32 bits, keys with their first bit set, columns that fill no vector.
    [TestMethod]
    [DataRow(1UL, 0L, 0, 0L, 4, 16, 0.5)]
    [DataRow(7UL, 12_345L, 3, 1000L, 33, 127, 0.1)]
    [DataRow(ulong.MaxValue, long.MaxValue, 11, 5_000_000_000L, 8, 1001, 0.9)]
    [DataRow(0x8000000000000000UL, 1L, 1, int.MaxValue, 64, 768, 0.3)]
    [DataRow(3UL, 2L, 0, 0L, 5, 9, 0.0)]
    [DataRow(3UL, 2L, 0, 0L, 0, 9, 0.2)]
    public void Mask_OfADevice_HasTheHostsNumbers(ulong seed, long step, int layer, long firstRow, int rows, int columns, double probability)
    {
        using var scope = NewDisposeScope();
        var host = DropoutMask.Of(CPU, seed, step, layer, firstRow, rows, columns, probability);
        var device = DropoutTensors.Mask(CPU, DropoutMask.LayerKey(seed, step, layer), firstRow, rows, columns, DropoutMask.Threshold(probability), DropoutMask.Kept(probability));

        CollectionAssert.AreEqual(host.shape, device.shape);
        if (rows == 0)
            return;
        CollectionAssert.AreEqual(host.data<float>().ToArray(), device.data<float>().ToArray());
        if (probability > 0 && rows > 8)
            Assert.AreEqual(probability, device.eq(0f).to(ScalarType.Float32).mean().item<float>(), 0.05);
    }
}
