using System.Numerics;
using MLDistributed.Training.Data;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// Dropout as a function of seed, step, layer, position in the global batch and column, so that it is the same however
/// the batch is split over ranks, on a host or on a device.
/// </summary>
internal static unsafe class DropoutMask
{
    private const ulong Stream = 0x64726f70;

    /// <summary>0 or 1 / (1 - probability) for rows [firstRow, firstRow + rows) of the global batch, rows x columns. A device makes its own, which nothing waits for.</summary>
    public static Tensor Of(Device device, ulong seed, long step, int layer, long firstRow, long rows, int columns, double probability)
    {
        if (device.type != DeviceType.CPU)
            return DropoutTensors.Mask(device, LayerKey(seed, step, layer), firstRow, rows, columns, Threshold(probability), Kept(probability));
        var mask = empty([rows, columns], ScalarType.Float32);
        Fill((float*)TorchMemory.Data(mask), seed, step, layer, firstRow, rows, columns, probability);
        return mask;
    }

    /// <summary>The same, into memory.</summary>
    public static void Fill(float* mask, ulong seed, long step, int layer, long firstRow, long rows, int columns, double probability)
    {
        var (layerKey, threshold, keep) = (LayerKey(seed, step, layer), Threshold(probability), Kept(probability));
        for (var row = 0L; row < rows; row++)
            FillRow(mask + row * columns, CounterRandom.Hash(layerKey, (ulong)(firstRow + row)), columns, threshold, keep);
    }

    internal static ulong LayerKey(ulong seed, long step, int layer) => CounterRandom.Hash(CounterRandom.Hash(CounterRandom.Hash(seed, Stream), (ulong)step), (ulong)layer);

    internal static uint Threshold(double probability) => (uint)(probability * uint.MaxValue);

    internal static float Kept(double probability) => (float)(1 / (1 - probability));

    private static void FillRow(float* mask, ulong key, int columns, uint threshold, float keep)
    {
        var low = (uint)key;
        var high = (uint)(key >> 32);
        var column = 0;
        var counters = Vector<uint>.Indices;
        for (; column <= columns - Vector<uint>.Count; column += Vector<uint>.Count)
        {
            var hash = Mix(counters, new Vector<uint>(low), new Vector<uint>(high));
            Vector.ConditionalSelect(Vector.AsVectorSingle(Vector.GreaterThanOrEqual(hash, new Vector<uint>(threshold))), new Vector<float>(keep), Vector<float>.Zero).Store(mask + column);
            counters += new Vector<uint>((uint)Vector<uint>.Count);
        }

        for (; column < columns; column++)
            mask[column] = Mix((uint)column, low, high) >= threshold ? keep : 0;
    }

    // Wellons' lowbias32, keyed before and after.
    private static Vector<uint> Mix(Vector<uint> x, Vector<uint> low, Vector<uint> high)
    {
        x = x * new Vector<uint>(0x9E3779B9) + low;
        x = (x ^ Vector.ShiftRightLogical(x, 16)) * new Vector<uint>(0x21f0aaad);
        x = (x ^ Vector.ShiftRightLogical(x, 15) ^ high) * new Vector<uint>(0x735a2d97);
        return x ^ Vector.ShiftRightLogical(x, 15);
    }

    private static uint Mix(uint x, uint low, uint high)
    {
        x = x * 0x9E3779B9 + low;
        x = (x ^ (x >> 16)) * 0x21f0aaad;
        x = (x ^ (x >> 15) ^ high) * 0x735a2d97;
        return x ^ (x >> 15);
    }
}
