namespace MLDistributed.Coordinator.Hosting;

/// <summary>
/// Ends all calls before the connections are closed. A .NET client whose connection closes right behind a status may
/// see the broken connection alone, and not "Unavailable", which tells it to come back.
/// </summary>
internal sealed class CallDrain(IHostApplicationLifetime lifetime) : IHostedLifecycleService
{
    private static readonly TimeSpan EndWithin = TimeSpan.FromSeconds(0.5);
    private static readonly TimeSpan Arrival = TimeSpan.FromSeconds(0.1);
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _open = 1; // the one is the host's own, given back when it stops

    public async Task CountAsync(HttpContext context, RequestDelegate next)
    {
        Interlocked.Increment(ref _open);
        try
        {
            await next(context).ConfigureAwait(false);
        }
        finally
        {
            Leave();
        }
    }

    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        lifetime.StopApplication(); // what streams listen to
        var hadCalls = Volatile.Read(ref _open) > 1;
        Leave();
        await Task.WhenAny(_drained.Task, Task.Delay(EndWithin, cancellationToken)).ConfigureAwait(false);
        if (hadCalls)
            await Task.Delay(Arrival, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    private void Leave()
    {
        if (Interlocked.Decrement(ref _open) == 0)
            _drained.TrySetResult();
    }
}
