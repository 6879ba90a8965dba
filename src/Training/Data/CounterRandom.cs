namespace MLDistributed.Training.Data;

/// <summary>Random numbers as a function of what they are for, so that any rank can make any of them.</summary>
internal static class CounterRandom
{
    /// <summary>splitmix64's finaliser over a key and a counter (Steele, Lea and Flood 2014).</summary>
    public static ulong Hash(ulong key, ulong counter)
    {
        var z = key + (counter + 1) * 0x9E3779B97F4A7C15UL;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31);
    }

    /// <summary>A number in [0, 1).</summary>
    public static double Uniform(ulong key, ulong counter) => (Hash(key, counter) >> 11) * (1.0 / (1UL << 53));
}
