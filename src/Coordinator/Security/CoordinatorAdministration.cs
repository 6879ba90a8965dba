using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator;

/// <summary>Manages keys and join tokens in a coordinator's data folder and backs it up, whether the coordinator runs or not; it has run once.</summary>
/// <remarks>All methods throw a <see cref="DirectoryNotFoundException"/> where there is no coordinator's database.</remarks>
public static class CoordinatorAdministration
{
    /// <summary>Makes an API key and returns it; it is stored as a hash only and cannot be shown again.</summary>
    /// <param name="dataFolder">The coordinator's data folder.</param>
    /// <param name="name">For people: whose key it is.</param>
    /// <param name="tenant">The owner of what is submitted with the key.</param>
    /// <param name="scopes">What the key may do.</param>
    /// <param name="maxPriority">The highest priority that jobs may be submitted with, any lower one too; null: 0, a job's own default, and no limit for an administrator.</param>
    /// <exception cref="ArgumentException">The name is empty, or the scopes are none or a worker's.</exception>
    public static string CreateKey(string dataFolder, string name, string tenant, Scopes scopes, int? maxPriority = null)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(name);
        ArgumentException.ThrowIfNullOrWhiteSpace(tenant);
        if (scopes == Scopes.None || (scopes & ~(Scopes.Read | Scopes.Submit | Scopes.Admin | Scopes.Metrics)) != 0)
            throw new ArgumentException($"Scopes are \"{scopes}\", expected one or more of Read, Submit, Admin and Metrics. Workers get their credential by a join token.", nameof(scopes));
        return Open(dataFolder).CreateKey(name, tenant, scopes, maxPriority ?? (scopes.HasFlag(Scopes.Admin) ? int.MaxValue : 0)).Secret;
    }

    /// <summary>All keys, the revoked ones too, oldest first.</summary>
    public static IReadOnlyList<ApiKeyInfo> ListKeys(string dataFolder) =>
        [.. Open(dataFolder).ListKeys().Select(k => new ApiKeyInfo(k.Id, k.Name, k.Tenant, (Scopes)k.Scopes, k.MaxPriority, k.CreatedAt, k.RevokedAt))];

    /// <summary>Revokes a key at once.</summary>
    /// <returns>Whether there was such a key that was not revoked before.</returns>
    public static bool RevokeKey(string dataFolder, string keyId) => Open(dataFolder).RevokeKey(keyId);

    /// <summary>The ids of all workers that joined and were not revoked.</summary>
    public static IReadOnlyList<string> ListWorkers(string dataFolder) => Open(dataFolder).ListWorkers();

    /// <summary>Takes a worker's credential away: the worker is disconnected within seconds, and its ranks are stopped.</summary>
    /// <param name="dataFolder">The coordinator's data folder.</param>
    /// <param name="workerId">The worker's id.</param>
    /// <returns>Whether there was such a worker that was not revoked before.</returns>
    public static bool RevokeWorker(string dataFolder, string workerId) => Open(dataFolder).RevokeWorker(workerId);

    /// <summary>Makes a token by which one worker may join.</summary>
    /// <param name="dataFolder">The coordinator's data folder.</param>
    /// <param name="validFor">How long; null: one day.</param>
    public static string CreateJoinToken(string dataFolder, TimeSpan? validFor = null) =>
        Open(dataFolder).CreateJoinToken(validFor ?? TimeSpan.FromDays(1));

    /// <summary>Makes tokens by each of which one worker may join.</summary>
    /// <param name="dataFolder">The coordinator's data folder.</param>
    /// <param name="count">How many.</param>
    /// <param name="validFor">How long.</param>
    public static IReadOnlyList<string> CreateJoinTokens(string dataFolder, int count, TimeSpan validFor)
    {
        var keys = Open(dataFolder);
        return [.. Enumerable.Range(0, count).Select(_ => keys.CreateJoinToken(validFor))];
    }

    /// <summary>
    /// Copies the database, the certificate and all stored files into a folder with which a coordinator can start. A later
    /// backup into the same folder replaces the database and adds the files that are new.
    /// </summary>
    /// <param name="dataFolder">The coordinator's data folder.</param>
    /// <param name="backupFolder">Made when missing, for its owner alone.</param>
    /// <param name="cancellation">Ends it between two files.</param>
    /// <exception cref="IOException">The backup folder cannot be written, or is a coordinator's own.</exception>
    public static BackupResult MakeBackup(string dataFolder, string backupFolder, CancellationToken cancellation) =>
        Backup.Make(OpenDatabase(dataFolder), dataFolder, backupFolder, cancellation);

    private static KeyRing Open(string dataFolder) => new(OpenDatabase(dataFolder), TimeProvider.System);

    private static ClusterDatabase OpenDatabase(string dataFolder)
    {
        var path = Path.GetFullPath(dataFolder);
        // A folder that was mistyped must not become a coordinator's.
        return ClusterDatabase.Exists(path)
            ? ClusterDatabase.OpenExisting(path)
            : throw new DirectoryNotFoundException($"Data folder \"{path}\" has no coordinator's database, expected the --data of a coordinator that was started before. Correct the path, or start the coordinator first.");
    }
}

/// <summary>An API key as it may be shown.</summary>
/// <param name="Id">By which it is revoked.</param>
/// <param name="Name">Whose it is.</param>
/// <param name="Tenant">The owner of what is submitted with it.</param>
/// <param name="Scopes">What it may do.</param>
/// <param name="MaxPriority">The highest priority that jobs may be submitted with.</param>
/// <param name="Created">When it was made.</param>
/// <param name="Revoked">When it was revoked; null: it is valid.</param>
public sealed record ApiKeyInfo(string Id, string Name, string Tenant, Scopes Scopes, int MaxPriority, DateTimeOffset Created, DateTimeOffset? Revoked);
