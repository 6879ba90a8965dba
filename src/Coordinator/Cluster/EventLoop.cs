using System.Threading.Channels;

namespace MLDistributed.Coordinator.Cluster;

/// <summary>Runs actions one after the other, so that the state they touch needs no locks.</summary>
internal sealed class EventLoop(ILogger<EventLoop> logger) : IAsyncDisposable
{
    private readonly Channel<Action> _actions = Channel.CreateUnbounded<Action>(new UnboundedChannelOptions { SingleReader = true });
    private readonly LoopLog _log = new(logger);
    private Task _running = Task.CompletedTask;

    /// <summary>Starts; <paramref name="settle"/> runs after every action.</summary>
    public void Start(Action settle) => _running = Task.Run(() => RunAsync(settle));

    public void Post(Action action) => _actions.Writer.TryWrite(action);

    /// <summary>Runs a function on the loop and returns what it returns or throws.</summary>
    public Task<T> InvokeAsync<T>(Func<T> function)
    {
        var reply = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        var posted = _actions.Writer.TryWrite(() =>
        {
            try
            {
                reply.SetResult(function());
            }
            catch (Exception e)
            {
                reply.SetException(e);
            }
        });
        if (!posted)
            reply.SetException(new OperationCanceledException("The coordinator is stopping."));
        return reply.Task;
    }

    public Task InvokeAsync(Action action) => InvokeAsync(() =>
    {
        action();
        return true;
    });

    public async ValueTask DisposeAsync()
    {
        _actions.Writer.TryComplete();
        await _running.ConfigureAwait(false);
    }

    private async Task RunAsync(Action settle)
    {
        await foreach (var action in _actions.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            try
            {
                action();
                settle();
            }
            catch (Exception e)
            {
                _log.ActionFailed(e);
            }
        }
    }
}

internal sealed partial class LoopLog(ILogger logger)
{
    [LoggerMessage(101, LogLevel.Error, "A step of the event loop failed; the loop goes on")]
    public partial void ActionFailed(Exception error);
}
