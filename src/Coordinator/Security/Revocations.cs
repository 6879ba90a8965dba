using System.Collections.Concurrent;

namespace MLDistributed.Coordinator.Security;

/// <summary>
/// Ends what is open of keys and workers' credentials that are revoked. The administrator writes to the database, from
/// another process: it is asked every two seconds, once for all calls however many are open.
/// </summary>
internal sealed class Revocations(KeyRing keys, CoordinatorOptions options, ILogger<Revocations> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(2);
    private readonly RevocationLog _log = new(logger);

    // As many as there are keys and workers.
    private readonly ConcurrentDictionary<string, CancellationTokenSource> _inUse = new(StringComparer.Ordinal);

    /// <summary>Cancelled when the caller's key or credential is revoked.</summary>
    public CancellationToken Of(Caller caller) => (caller.KeyId ?? caller.WorkerId) is { } id
        ? _inUse.GetOrAdd(id, static _ => new CancellationTokenSource()).Token
        : CancellationToken.None;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, options.Time);
        while (await timer.WaitForNextTickAsync(stoppingToken).ConfigureAwait(false))
        {
            try
            {
                foreach (var id in _inUse.IsEmpty ? [] : await keys.RevokedAsync(stoppingToken).ConfigureAwait(false))
                    if (_inUse.TryRemove(id, out var calls))
                        await calls.CancelAsync().ConfigureAwait(false); // not disposed: calls may still link to its token
            }
            catch (System.Data.Common.DbException e)
            {
                _log.Failed(e);
            }
        }
    }
}

internal sealed partial class RevocationLog(ILogger logger)
{
    [LoggerMessage(205, LogLevel.Warning, "Could not ask for revoked keys; the next seconds try again")]
    public partial void Failed(Exception error);
}
