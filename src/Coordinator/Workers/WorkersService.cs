using Grpc.Core;
using MLDistributed.Coordinator.Cluster;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Coordinator.Security;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>Lets workers join, and carries the stream between each of them and the event loop.</summary>
internal sealed class WorkersService(ClusterController cluster, EventLoop loop, KeyRing keys, CoordinatorOptions options, IHostApplicationLifetime lifetime, ILogger<WorkersService> logger)
    : Protocol.Workers.WorkersBase
{
    private static readonly TimeSpan HelloTimeout = TimeSpan.FromSeconds(10);
    private readonly WorkersLog _log = new(logger);

    public override async Task<JoinReply> Join(JoinRequest request, ServerCallContext context)
    {
        try
        {
            var joined = await keys.JoinAsync(request.Token, request.Host, context.CancellationToken).ConfigureAwait(false);
            _log.Joined(request.Host, joined.WorkerId);
            return new JoinReply { WorkerId = joined.WorkerId, Credential = joined.Credential };
        }
        catch (JoinException e)
        {
            throw new RpcException(new Status(StatusCode.Unauthenticated, e.Message));
        }
    }

    public override async Task Connect(IAsyncStreamReader<WorkerMessage> requestStream, IServerStreamWriter<WorkerCommand> responseStream, ServerCallContext context)
    {
        using var stop = CallEnd.Of(context, lifetime);
        var caller = Caller.Of(context);
        var hello = await ReadHelloAsync(requestStream, caller, stop.Token).ConfigureAwait(false);
        var session = await loop.InvokeAsync(() => cluster.Connect(hello, caller.IsLocal)).ConfigureAwait(false);
        var sending = SendAsync(session, responseStream, stop.Token);
        var receiving = ReceiveAsync(session, requestStream, stop.Token);
        try
        {
            await Task.WhenAny(sending, receiving, session.Unread).Unwrap().ConfigureAwait(false);
        }
        catch (RpcException) when (session.Unread.IsFaulted)
        {
            context.GetHttpContext().Abort(); // who reads nothing reads no status either
            throw;
        }
        finally
        {
            await stop.CancelAsync().ConfigureAwait(false);
            loop.Post(() => cluster.Disconnect(session));
            await Task.WhenAll(sending, receiving).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task<Hello> ReadHelloAsync(IAsyncStreamReader<WorkerMessage> messages, Caller caller, CancellationToken cancellation)
    {
        if (!await messages.NextAsync(cancellation).WaitAsync(HelloTimeout, options.Time, cancellation).ConfigureAwait(false) || messages.Current.Hello is not { } hello)
            throw new RpcException(new Status(StatusCode.InvalidArgument, "The stream does not begin with Hello. Use the same release on both."));
        if (hello.ProtocolVersion != ProtocolVersion.Current)
            throw new RpcException(new Status(StatusCode.FailedPrecondition, $"Worker speaks protocol {hello.ProtocolVersion}, this coordinator {ProtocolVersion.Current}. Use the same release on both."));
        if (hello.WorkerId.Length == 0)
            throw new RpcException(new Status(StatusCode.InvalidArgument, "Hello has no worker id, expected the one from Join, or over a Unix socket any unique one."));
        if (!caller.IsLocal && hello.WorkerId != caller.WorkerId)
            throw new RpcException(new Status(StatusCode.PermissionDenied, $"Hello names worker \"{hello.WorkerId}\", expected \"{caller.WorkerId}\", whose credential this is."));
        if (hello.Devices.Select(d => d.Slot).Distinct().Count() != hello.Devices.Count)
            throw new RpcException(new Status(StatusCode.InvalidArgument, $"Hello of \"{hello.Host}\" lists a slot twice, expected every slot once."));
        return hello;
    }

    private static async Task SendAsync(WorkerSession session, IServerStreamWriter<WorkerCommand> stream, CancellationToken cancellation)
    {
        await foreach (var command in session.Commands.ReadAllAsync(cancellation).ConfigureAwait(false))
            await stream.SendAsync(command, cancellation).ConfigureAwait(false);
    }

    private async Task ReceiveAsync(WorkerSession session, IAsyncStreamReader<WorkerMessage> messages, CancellationToken cancellation)
    {
        while (await messages.NextAsync(cancellation).ConfigureAwait(false))
        {
            var message = messages.Current;
            await loop.InvokeAsync(() => cluster.Receive(session, message)).ConfigureAwait(false);
        }
    }
}

internal sealed partial class WorkersLog(ILogger logger)
{
    [LoggerMessage(501, LogLevel.Information, "Worker {WorkerId} joined from \"{Host}\"")]
    public partial void Joined(string host, string workerId);
}
