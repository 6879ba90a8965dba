using Microsoft.EntityFrameworkCore;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Security;

/// <summary>The API keys, join tokens and worker credentials of a database.</summary>
internal sealed class KeyRing(ClusterDatabase database, TimeProvider time)
{
    /// <summary>Whom a secret belongs to; null when it is unknown or revoked.</summary>
    public async Task<Caller?> FindAsync(string secret, CancellationToken cancellation)
    {
        var hash = Secret.Hash(secret);
        using var context = database.NewContext();
        var key = await context.ApiKeys.AsNoTracking().FirstOrDefaultAsync(k => k.Hash == hash && k.RevokedAt == null, cancellation).ConfigureAwait(false);
        if (key is not null)
            return new Caller(key.Name, key.Tenant, (Scopes)key.Scopes) { KeyId = key.Id, MaxPriority = key.MaxPriority };
        var worker = await context.Workers.AsNoTracking().FirstOrDefaultAsync(w => w.CredentialHash == hash && w.RevokedAt == null, cancellation).ConfigureAwait(false);
        return worker is null ? null : new Caller(worker.Host, "", Scopes.Worker, worker.Id);
    }

    public bool IsEmpty()
    {
        using var context = database.NewContext();
        return !context.ApiKeys.Any();
    }

    public (ApiKeyRow Row, string Secret) CreateKey(string name, string tenant, Scopes scopes, int maxPriority)
    {
        var secret = Secret.New("mlk_");
        var row = new ApiKeyRow
        {
            Id = OpaqueId.New().Text[..12],
            Hash = Secret.Hash(secret),
            Name = name,
            Tenant = tenant,
            Scopes = (int)scopes,
            MaxPriority = maxPriority,
            CreatedAt = time.GetUtcNow(),
        };
        using var context = database.NewContext();
        context.ApiKeys.Add(row);
        context.SaveChanges();
        return (row, secret);
    }

    public IReadOnlyList<ApiKeyRow> ListKeys()
    {
        using var context = database.NewContext();
        return [.. context.ApiKeys.AsNoTracking().OrderBy(k => k.CreatedAt)];
    }

    public bool RevokeKey(string id)
    {
        using var context = database.NewContext();
        DateTimeOffset? now = time.GetUtcNow();
        return context.ApiKeys.Where(k => k.Id == id && k.RevokedAt == null).ExecuteUpdate(set => set.SetProperty(k => k.RevokedAt, now)) > 0;
    }

    public string CreateJoinToken(TimeSpan validFor)
    {
        var secret = Secret.New("mlj_");
        var now = time.GetUtcNow();
        using var context = database.NewContext();
        context.JoinTokens.Add(new JoinTokenRow { Hash = Secret.Hash(secret), CreatedAt = now, ExpiresAt = now + validFor });
        context.SaveChanges();
        return secret;
    }

    /// <summary>Uses up a join token.</summary>
    /// <exception cref="JoinException">It is unknown, used or expired; the message says which.</exception>
    public async Task<(string WorkerId, string Credential)> JoinAsync(string token, string host, CancellationToken cancellation)
    {
        var hash = Secret.Hash(token);
        var now = time.GetUtcNow();
        DateTimeOffset? used = now;
        using var context = database.NewContext();
        // One statement, so that of two workers with the same token one fails.
        var taken = await context.JoinTokens.Where(t => t.Hash == hash && t.UsedAt == null && t.ExpiresAt > now)
            .ExecuteUpdateAsync(set => set.SetProperty(t => t.UsedAt, used), cancellation).ConfigureAwait(false);
        if (taken == 0)
            throw new JoinException(await context.JoinTokens.AsNoTracking().FirstOrDefaultAsync(t => t.Hash == hash, cancellation).ConfigureAwait(false));
        var credential = Secret.ForWorker();
        var worker = new WorkerRow { Id = OpaqueId.New().Text, Host = host, CredentialHash = Secret.Hash(credential), JoinedAt = now };
        context.Workers.Add(worker);
        await context.SaveChangesAsync(cancellation).ConfigureAwait(false);
        return (worker.Id, credential);
    }

    public IReadOnlyList<string> ListWorkers()
    {
        using var context = database.NewContext();
        return [.. context.Workers.Where(w => w.RevokedAt == null).Select(w => w.Id)];
    }

    public bool RevokeWorker(string id)
    {
        using var context = database.NewContext();
        DateTimeOffset? now = time.GetUtcNow();
        return context.Workers.Where(w => w.Id == id && w.RevokedAt == null).ExecuteUpdate(set => set.SetProperty(w => w.RevokedAt, now)) > 0;
    }

    /// <summary>The ids of all keys and workers that were revoked.</summary>
    public async Task<IReadOnlyList<string>> RevokedAsync(CancellationToken cancellation)
    {
        using var context = database.NewContext();
        return await context.ApiKeys.Where(k => k.RevokedAt != null).Select(k => k.Id)
            .Concat(context.Workers.Where(w => w.RevokedAt != null).Select(w => w.Id))
            .ToListAsync(cancellation).ConfigureAwait(false);
    }
}

/// <summary>A join token that admits nobody.</summary>
/// <param name="token">What is known of it; null: nothing.</param>
internal sealed class JoinException(JoinTokenRow? token) : Exception(token switch
{
    null => "The join token is unknown to this coordinator",
    { UsedAt: { } used } => $"The join token was used already, at {used.ToUniversalTime():u}, and each admits one worker",
    _ => $"The join token expired at {token.ExpiresAt.ToUniversalTime():u}",
});
