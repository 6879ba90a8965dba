using Microsoft.Extensions.Diagnostics.HealthChecks;
using MLDistributed.Coordinator.Cluster;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>Healthy: the event loop answers.</summary>
internal sealed class EventLoopCheck(EventLoop loop) : IHealthCheck
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(2);

    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        try
        {
            await loop.InvokeAsync(static () => true).WaitAsync(Limit, cancellationToken).ConfigureAwait(false);
            return HealthCheckResult.Healthy();
        }
        catch (TimeoutException)
        {
            return HealthCheckResult.Unhealthy($"The event loop did not answer within {Limit.TotalSeconds} s.");
        }
    }
}
