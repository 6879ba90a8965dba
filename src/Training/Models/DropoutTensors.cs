using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// <see cref="DropoutMask"/>'s numbers by a device's own arithmetic, whose integers are signed and wrap. Nothing is copied to the
/// device, for which the host would wait: constants are filled in there. Some forty small kernels for each mask.
/// </summary>
internal static class DropoutTensors
{
    /// <summary>Rows x columns, float32.</summary>
    public static Tensor Mask(Device device, ulong layerKey, long firstRow, long rows, int columns, uint threshold, float keep)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var keys = RowKeys(device, layerKey, firstRow, rows).view(rows, 1);
        var (low, high) = (keys.to(ScalarType.Int32), keys.bitwise_right_shift(Constant(32, keys)).to(ScalarType.Int32));
        var x = Times(arange(columns, ScalarType.Int32, device), unchecked((int)0x9E3779B9)).add(low);
        Times(Mixed(x, 16), 0x21f0aaad);
        Times(Mixed(x, 15).bitwise_xor_(high), 0x735a2d97);
        Mixed(x, 15);
        // Signed numbers are in the order of unsigned ones once the first bit is the other.
        using Scalar least = unchecked((int)(threshold ^ 0x80000000)), kept = keep;
        using var stays = x.bitwise_xor_(Constant(int.MinValue, x)).ge(least);
        return stays.to(ScalarType.Float32).mul_(kept).MoveToOuterDisposeScope();
    }

    // CounterRandom.Hash of the layer's key and each row.
    private static Tensor RowKeys(Device device, ulong layerKey, long firstRow, long rows)
    {
        using Scalar key = unchecked((long)layerKey);
        var z = Times(arange(firstRow + 1, firstRow + 1 + rows, ScalarType.Int64, device), unchecked((long)0x9E3779B97F4A7C15)).add_(key);
        Times(Mixed(z, 30), unchecked((long)0xBF58476D1CE4E5B9));
        Times(Mixed(z, 27), unchecked((long)0x94D049BB133111EB));
        return Mixed(z, 31);
    }

    // x ^= x >> bits, as of unsigned numbers. What is shifted is as large as the mask itself: freed at once.
    private static Tensor Mixed(Tensor numbers, int bits)
    {
        var ones = numbers.dtype == ScalarType.Int32 ? uint.MaxValue >> bits : (long)(ulong.MaxValue >> bits);
        using var shifted = numbers.bitwise_right_shift(Constant(bits, numbers)).bitwise_and_(Constant(ones, numbers));
        return numbers.bitwise_xor_(shifted);
    }

    private static Tensor Times(Tensor numbers, long factor)
    {
        using Scalar scalar = factor;
        return numbers.mul_(scalar);
    }

    // Filled in where the numbers are, and of their type.
    private static Tensor Constant(long value, Tensor numbers)
    {
        using Scalar scalar = value;
        return full([1], scalar, numbers.dtype, numbers.device);
    }
}
