using Grpc.Core;
using MLDistributed.Coordinator.Security;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>What ends a call that may last.</summary>
internal static class CallEnd
{
    /// <summary>Cancelled when the caller leaves, its key is revoked, or the coordinator stops. The caller disposes it.</summary>
    public static CancellationTokenSource Of(ServerCallContext context, IHostApplicationLifetime lifetime) =>
        CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifetime.ApplicationStopping, Caller.Of(context).Revoked);
}
