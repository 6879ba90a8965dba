using System.Threading.Channels;
using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>One connection of a worker. Of two, the one with the higher epoch counts.</summary>
internal sealed class WorkerSession(WorkerEntry worker, long epoch)
{
    private const int MaxUnread = 10_000; // more than a worker has slots, twice

    private readonly Channel<WorkerCommand> _commands = Channel.CreateBounded<WorkerCommand>(new BoundedChannelOptions(MaxUnread) { SingleReader = true });

    private readonly TaskCompletionSource _unread = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Fails when too many commands wait to be read: the stream is to end, without them.</summary>
    public Task Unread => _unread.Task;

    public WorkerEntry Worker => worker;
    public long Epoch => epoch;
    public ChannelReader<WorkerCommand> Commands => _commands.Reader;

    /// <summary>Queues a command. A worker that reads none loses the session: on the next it hears what still holds.</summary>
    public void Send(WorkerCommand command)
    {
        if (!_commands.Writer.TryWrite(command))
            _unread.TrySetException(new RpcException(new Status(StatusCode.ResourceExhausted, $"Worker \"{worker.Host}\" has not read {MaxUnread:N0} commands, expected them read as they come. Connect again.")));
    }

    /// <summary>Ends the stream with a status that tells the worker why.</summary>
    public void Close(StatusCode code, string reason) => _commands.Writer.TryComplete(new RpcException(new Status(code, reason)));
}
