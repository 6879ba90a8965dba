using System.Threading.Channels;

namespace MLDistributed.Worker.Agents;

/// <summary>Runs what is posted, one at a time, in order: all state of the agent is touched here only, so it needs no locks.</summary>
internal sealed class Mailbox
{
    private readonly Channel<Action> _actions = Channel.CreateUnbounded<Action>(new UnboundedChannelOptions { SingleReader = true });

    public void Post(Action action) => _actions.Writer.TryWrite(action);

    /// <summary>Runs an action on the loop and gives its answer, or what it threw.</summary>
    public Task<T> AskAsync<T>(Func<T> question)
    {
        var answer = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(() =>
        {
            try
            {
                answer.SetResult(question());
            }
            catch (Exception e)
            {
                answer.SetException(e);
            }
        });
        return answer.Task;
    }

    /// <summary>Runs until cancelled. An exception of an action ends it: the state is no longer to be trusted.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        await foreach (var action in _actions.Reader.ReadAllAsync(cancellation).ConfigureAwait(false))
            action();
    }
}
