namespace MLDistributed.Collectives;

/// <summary>What values are sent as over a network.</summary>
public enum WireType
{
    /// <summary>As they are.</summary>
    Float32,

    /// <summary>Half the bytes: 8 bits of precision, the range of float32. Each value is rounded once, the sum is made in float32, and rounded once more.</summary>
    BFloat16,
}
