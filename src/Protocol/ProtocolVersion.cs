namespace MLDistributed.Protocol;

/// <summary>The version of the wire protocol, sent with every call as metadata.</summary>
public static class ProtocolVersion
{
    /// <summary>The version that this build speaks. A coordinator refuses any other.</summary>
    public const int Current = 2;

    /// <summary>The metadata key that carries <see cref="Current"/>.</summary>
    public const string Header = "mldist-protocol";
}
