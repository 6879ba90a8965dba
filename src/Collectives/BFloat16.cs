using System.Numerics;

namespace MLDistributed.Collectives;

/// <summary>The upper half of a float32: its range, 8 bits of its precision.</summary>
internal static class BFloat16
{
    private const uint QuietNaN = 0x7FC0;

    /// <summary>Rounds to nearest, ties to even. NaN stays NaN; what is above the largest finite one becomes infinite. Both may begin at the same place.</summary>
    public static void Narrow(ReadOnlySpan<float> from, Span<ushort> to)
    {
        var i = 0;
        for (; i <= from.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
            Vector.Narrow(Round(new Vector<float>(from[i..])), Round(new Vector<float>(from[(i + Vector<float>.Count)..]))).CopyTo(to[i..]);
        for (; i < from.Length; i++)
        {
            var bits = BitConverter.SingleToUInt32Bits(from[i]);
            to[i] = (ushort)(float.IsNaN(from[i]) ? QuietNaN : (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
        }
    }

    /// <summary>Exact. Both may begin at the same place: it goes from the end, where no value is written over one that is not read.</summary>
    public static void Widen(ReadOnlySpan<ushort> from, Span<float> to)
    {
        var i = from.Length;
        for (; i % Vector<ushort>.Count != 0; i--)
            to[i - 1] = BitConverter.UInt32BitsToSingle((uint)from[i - 1] << 16);
        for (i -= Vector<ushort>.Count; i >= 0; i -= Vector<ushort>.Count)
        {
            Vector.Widen(new Vector<ushort>(from[i..]), out var low, out var high);
            (low << 16).As<uint, float>().CopyTo(to[i..]);
            (high << 16).As<uint, float>().CopyTo(to[(i + Vector<float>.Count)..]);
        }
    }

    private static Vector<uint> Round(Vector<float> values)
    {
        var bits = values.As<float, uint>();
        var rounded = (bits + new Vector<uint>(0x7FFF) + ((bits >>> 16) & Vector<uint>.One)) >>> 16;
        return Vector.ConditionalSelect(Vector.Equals(values, values).As<int, uint>(), rounded, new Vector<uint>(QuietNaN));
    }
}
