using Google.Protobuf;
using Grpc.Core;
using Grpc.Core.Interceptors;
using MLDistributed.Coordinator.Security;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Calls;

/// <summary>Compares what callers send with <see cref="WireRules"/> before a handler sees it, and words what goes wrong in any handler.</summary>
internal sealed class CallInterceptor(CallFailures failures) : Interceptor
{
    public override Task<TResponse> UnaryServerHandler<TRequest, TResponse>(
        TRequest request, ServerCallContext context, UnaryServerMethod<TRequest, TResponse> continuation) =>
        Guard(context, () => continuation(Checked(request), context));

    public override Task ServerStreamingServerHandler<TRequest, TResponse>(
        TRequest request, IServerStreamWriter<TResponse> responseStream, ServerCallContext context, ServerStreamingServerMethod<TRequest, TResponse> continuation) =>
        Guard(context, () => Done(continuation(Checked(request), responseStream, context)));

    public override Task<TResponse> ClientStreamingServerHandler<TRequest, TResponse>(
        IAsyncStreamReader<TRequest> requestStream, ServerCallContext context, ClientStreamingServerMethod<TRequest, TResponse> continuation) =>
        Guard(context, () => continuation(new CheckedReader<TRequest>(requestStream), context));

    public override Task DuplexStreamingServerHandler<TRequest, TResponse>(
        IAsyncStreamReader<TRequest> requestStream, IServerStreamWriter<TResponse> responseStream, ServerCallContext context, DuplexStreamingServerMethod<TRequest, TResponse> continuation) =>
        Guard(context, () => Done(continuation(new CheckedReader<TRequest>(requestStream), responseStream, context)));

    private static async Task<bool> Done(Task call)
    {
        await call.ConfigureAwait(false);
        return true;
    }

    private async Task<T> Guard<T>(ServerCallContext context, Func<Task<T>> handler)
    {
        try
        {
            return await handler().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            var told = failures.Describe(e, context.Method, context.CancellationToken, Caller.Of(context).Revoked);
            throw e is RpcException refusal && refusal.StatusCode == told.StatusCode ? new RpcException(told, refusal.Trailers) : new RpcException(told);
        }
    }

    private static T Checked<T>(T request) => request is IMessage message && WireRules.Refusal(message) is { } refusal
        ? throw new RpcException(new Status(StatusCode.InvalidArgument, refusal))
        : request;

    private sealed class CheckedReader<T>(IAsyncStreamReader<T> inner) : IAsyncStreamReader<T>
    {
        public T Current => inner.Current;

        public async Task<bool> MoveNext(CancellationToken cancellationToken)
        {
            try
            {
                if (!await inner.MoveNext(cancellationToken).ConfigureAwait(false))
                    return false;
            }
            catch (IOException e) when (e is not BadHttpRequestException)
            {
                // The connection's: it may be felt before the call is told that its caller left.
                throw new RpcException(new Status(StatusCode.Cancelled, "The caller left.", e));
            }

            Checked(inner.Current);
            return true;
        }
    }
}
