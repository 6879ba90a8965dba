using System.Threading.Channels;
using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>One connection of a worker. Of two, the one with the higher epoch counts.</summary>
internal sealed class WorkerSession(WorkerEntry worker, long epoch)
{
    private readonly Channel<WorkerCommand> _commands = Channel.CreateUnbounded<WorkerCommand>(new UnboundedChannelOptions { SingleReader = true });

    public WorkerEntry Worker => worker;
    public long Epoch => epoch;
    public ChannelReader<WorkerCommand> Commands => _commands.Reader;

    public void Send(WorkerCommand command) => _commands.Writer.TryWrite(command);

    /// <summary>Ends the stream with a status that tells the worker why.</summary>
    public void Close(StatusCode code, string reason) => _commands.Writer.TryComplete(new RpcException(new Status(code, reason)));
}
