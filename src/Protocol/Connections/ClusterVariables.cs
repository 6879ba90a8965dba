namespace MLDistributed.Protocol;

/// <summary>The environment variables that name a cluster, for apps and for mldist alike.</summary>
public static class ClusterVariables
{
    /// <summary>Where the coordinator is.</summary>
    public const string Coordinator = "MLDIST_COORDINATOR";

    /// <summary>The key that its administrator gave out.</summary>
    public const string ApiKey = "MLDIST_API_KEY";

    /// <summary>SHA-256 of its certificate, when that is self-signed.</summary>
    public const string Fingerprint = "MLDIST_FINGERPRINT";

    /// <summary>A token by which a worker joins, at its first start. No part of what names a cluster to apps.</summary>
    public const string JoinToken = "MLDIST_JOIN_TOKEN";

    /// <summary>All that name a cluster.</summary>
    public static IReadOnlyList<string> All { get; } = [Coordinator, ApiKey, Fingerprint];

    /// <summary>A variable's value, without blanks around it; null when it is not set or blank.</summary>
    /// <param name="name">The variable.</param>
    public static string? Read(string name) => Environment.GetEnvironmentVariable(name)?.Trim() is { Length: > 0 } value ? value : null;
}
