using Grpc.Core;

namespace MLDistributed.Coordinator.Security;

/// <summary>Who makes a call.</summary>
/// <param name="Name">A key's name, a worker's id, or "local".</param>
/// <param name="Tenant">The owner of what the caller submits.</param>
/// <param name="Scopes">What it may do.</param>
/// <param name="WorkerId">The id that a worker's credential was issued for.</param>
/// <param name="IsLocal">Whether it came through the Unix socket, which needs no key.</param>
internal sealed record Caller(string Name, string Tenant, Scopes Scopes, string? WorkerId = null, bool IsLocal = false)
{
    public static readonly Caller Local = new("local", "local", Scopes.Read | Scopes.Submit | Scopes.Admin | Scopes.Worker, IsLocal: true) { MaxPriority = int.MaxValue };
    public static readonly Caller Anonymous = new("anonymous", "", Scopes.None);

    /// <summary>The API key's id; null: it came with none.</summary>
    public string? KeyId { get; init; }

    /// <summary>The highest priority that its jobs may have.</summary>
    public int MaxPriority { get; init; }

    /// <summary>Cancelled when its key or credential is revoked.</summary>
    public CancellationToken Revoked { get; init; }

    /// <summary>Whose share of this process's memory its calls take.</summary>
    public string Owner => WorkerId is { } worker ? $"worker {worker}" : $"tenant {Tenant}";

    public bool MaySee(string tenant) => Scopes.HasFlag(Scopes.Admin) || tenant == Tenant;

    public static Caller Of(ServerCallContext context) => context.GetHttpContext().Features.Get<Caller>()
        ?? throw new InvalidOperationException("The call passed no authentication.");
}

/// <summary>Marks connections that came through the Unix socket.</summary>
internal sealed class TrustedConnection;
