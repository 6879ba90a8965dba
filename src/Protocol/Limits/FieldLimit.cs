namespace MLDistributed.Protocol;

/// <summary>What a field of a message may hold.</summary>
public sealed record FieldLimit
{
    /// <summary>The most characters of a text, or bytes.</summary>
    /// <value>4,096.</value>
    public int MaxLength { get; init; } = 4096;

    /// <summary>The most values of a repeated field.</summary>
    /// <value>4,096.</value>
    public int MaxCount { get; init; } = 4096;

    /// <summary>The least whole number.</summary>
    /// <value>0.</value>
    public long Least { get; init; }

    /// <summary>The largest whole number.</summary>
    /// <value>Any.</value>
    public long Largest { get; init; } = long.MaxValue;

    /// <summary>What the text must be.</summary>
    /// <value>Any text.</value>
    public TextKind Kind { get; init; }
}

/// <summary>What a text is.</summary>
public enum TextKind
{
    /// <summary>Any, for people.</summary>
    Any,

    /// <summary>A <see cref="ContentHash"/>.</summary>
    Hash,

    /// <summary>A <see cref="ContentHash"/>, or empty.</summary>
    HashOrEmpty,

    /// <summary>An <see cref="OpaqueId"/>.</summary>
    Id,

    /// <summary>An <see cref="OpaqueId"/>, or empty.</summary>
    IdOrEmpty,
}
