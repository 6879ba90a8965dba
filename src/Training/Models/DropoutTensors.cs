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
        var (low, high) = (keys.to(ScalarType.Int32), keys.bitwise_right_shift(Wide(32)).to(ScalarType.Int32));
        var x = Times(arange(columns, ScalarType.Int32, device), 0x9E3779B9).add(low);
        Times(Mixed(x, 16), 0x21f0aaad);
        Times(Mixed(x, 15).bitwise_xor_(high), 0x735a2d97);
        Mixed(x, 15);
        // Signed numbers are in the order of unsigned ones once the first bit is the other.
        using Scalar least = unchecked((int)(threshold ^ 0x80000000)), kept = keep;
        using var stays = x.bitwise_xor_(Narrow(int.MinValue)).ge(least);
        return stays.to(ScalarType.Float32).mul_(kept).MoveToOuterDisposeScope();

        // As large as the mask itself: freed at once.
        Tensor Mixed(Tensor numbers, int bits)
        {
            using var shifted = numbers.bitwise_right_shift(Narrow(bits)).bitwise_and_(Narrow((int)(uint.MaxValue >> bits)));
            return numbers.bitwise_xor_(shifted);
        }

        Tensor Narrow(int value) => Constant(value, ScalarType.Int32, device);

        Tensor Wide(long value) => Constant(value, ScalarType.Int64, device);

        static Tensor Times(Tensor numbers, uint factor)
        {
            using Scalar scalar = unchecked((int)factor);
            return numbers.mul_(scalar);
        }
    }

    // CounterRandom.Hash of the layer's key and each row.
    private static Tensor RowKeys(Device device, ulong layerKey, long firstRow, long rows)
    {
        using Scalar key = unchecked((long)layerKey);
        var z = Times(arange(firstRow + 1, firstRow + 1 + rows, ScalarType.Int64, device), 0x9E3779B97F4A7C15).add_(key);
        z = Times(z.bitwise_xor_(Shifted(30)), 0xBF58476D1CE4E5B9);
        z = Times(z.bitwise_xor_(Shifted(27)), 0x94D049BB133111EB);
        return z.bitwise_xor_(Shifted(31));

        Tensor Shifted(int bits) => z.bitwise_right_shift(Constant(bits, ScalarType.Int64, device)).bitwise_and_(Constant((long)(ulong.MaxValue >> bits), ScalarType.Int64, device));

        static Tensor Times(Tensor numbers, ulong factor)
        {
            using Scalar scalar = unchecked((long)factor);
            return numbers.mul_(scalar);
        }
    }

    private static Tensor Constant(long value, ScalarType type, Device device)
    {
        using Scalar scalar = value;
        return full([1], scalar, type, device);
    }
}
