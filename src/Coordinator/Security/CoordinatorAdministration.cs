namespace MLDistributed.Coordinator;

/// <summary>Manages keys and join tokens in a coordinator's data folder. Stub: the coordinator's branch has the real one.</summary>
public static class CoordinatorAdministration
{
    /// <summary>Makes an API key.</summary>
    public static string CreateKey(string dataFolder, string name, string tenant, Scopes scopes) => throw new NotImplementedException();

    /// <summary>All keys.</summary>
    public static IReadOnlyList<ApiKeyInfo> ListKeys(string dataFolder) => throw new NotImplementedException();

    /// <summary>Revokes a key at once.</summary>
    public static bool RevokeKey(string dataFolder, string keyId) => throw new NotImplementedException();

    /// <summary>Makes a token by which one worker may join.</summary>
    public static string CreateJoinToken(string dataFolder, TimeSpan? validFor = null) => throw new NotImplementedException();
}

/// <summary>An API key as it may be shown.</summary>
public sealed record ApiKeyInfo(string Id, string Name, string Tenant, Scopes Scopes, DateTimeOffset Created, DateTimeOffset? Revoked);
