using System.Numerics;
using System.Runtime.InteropServices;

namespace Microsoft.ML.Distributed;

/// <summary>Numbers that are bytes: whole, from 0 to 255.</summary>
internal static class Bytes
{
    public static bool Is(float value) => value is >= 0 and <= byte.MaxValue && value == MathF.Truncate(value);

    /// <summary>Whether all are.</summary>
    public static bool AreAll(ReadOnlySpan<float> values)
    {
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(values);
        var most = new Vector<float>(byte.MaxValue);
        foreach (var value in vectors)
        {
            // Not so of a NaN.
            var isWithin = Vector.BitwiseAnd(Vector.GreaterThanOrEqual(value, Vector<float>.Zero), Vector.LessThanOrEqual(value, most));
            if (!Vector.EqualsAll(Vector.BitwiseAnd(isWithin, Vector.Equals(value, Vector.Truncate(value))), Vector<int>.AllBitsSet))
                return false;
        }

        foreach (var value in values[(vectors.Length * Vector<float>.Count)..])
            if (!Is(value))
                return false;
        return true;
    }
}
