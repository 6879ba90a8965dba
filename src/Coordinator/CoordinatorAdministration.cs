namespace MLDistributed.Coordinator;

/// <summary>Makes keys and tokens in a coordinator's data folder.</summary>
public static class CoordinatorAdministration
{
    /// <summary>Makes an API key and returns it; only its hash is kept.</summary>
    public static Task<string> CreateApiKeyAsync(string dataFolder, string name, IReadOnlyList<string> scopes, string tenant) => throw new NotImplementedException();

    /// <summary>Makes a one-time token for a worker to join.</summary>
    public static Task<string> CreateJoinTokenAsync(string dataFolder, TimeSpan validFor) => throw new NotImplementedException();
}
