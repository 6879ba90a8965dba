namespace Microsoft.ML.Distributed;

/// <summary>
/// The standard deviations that can be divided by in single precision where denormal numbers are zero, as they are on ranks
/// and not in the app: a difference that is lost there is less than a ten-millionth of the deviation, and its inverse is normal.
/// </summary>
internal static class ScaleRange
{
    /// <summary>The smallest normal number, and as much again as single precision has digits.</summary>
    public const double Least = 2e-31;

    /// <summary>The inverse stays normal, and differences finite.</summary>
    public const double Most = 1e37;

    public static bool Holds(double deviation) => deviation is >= Least and <= Most;
}
