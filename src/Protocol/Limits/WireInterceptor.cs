using Google.Protobuf;
using Grpc.Core;
using Grpc.Core.Interceptors;

namespace MLDistributed.Protocol;

/// <summary>Looks at all that a server answers by <see cref="WireRules"/>, before any client uses it.</summary>
internal sealed class WireInterceptor : Interceptor
{
    public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(
        TRequest request, ClientInterceptorContext<TRequest, TResponse> context, AsyncUnaryCallContinuation<TRequest, TResponse> continuation)
    {
        var call = continuation(request, context);
        return new AsyncUnaryCall<TResponse>(CheckedAsync(call.ResponseAsync, context.Method), call.ResponseHeadersAsync, call.GetStatus, call.GetTrailers, call.Dispose);
    }

    public override AsyncServerStreamingCall<TResponse> AsyncServerStreamingCall<TRequest, TResponse>(
        TRequest request, ClientInterceptorContext<TRequest, TResponse> context, AsyncServerStreamingCallContinuation<TRequest, TResponse> continuation)
    {
        var call = continuation(request, context);
        return new AsyncServerStreamingCall<TResponse>(new CheckedReader<TResponse>(call.ResponseStream, context.Method), call.ResponseHeadersAsync, call.GetStatus, call.GetTrailers, call.Dispose);
    }

    public override AsyncClientStreamingCall<TRequest, TResponse> AsyncClientStreamingCall<TRequest, TResponse>(
        ClientInterceptorContext<TRequest, TResponse> context, AsyncClientStreamingCallContinuation<TRequest, TResponse> continuation)
    {
        var call = continuation(context);
        return new AsyncClientStreamingCall<TRequest, TResponse>(call.RequestStream, CheckedAsync(call.ResponseAsync, context.Method), call.ResponseHeadersAsync, call.GetStatus, call.GetTrailers, call.Dispose);
    }

    public override AsyncDuplexStreamingCall<TRequest, TResponse> AsyncDuplexStreamingCall<TRequest, TResponse>(
        ClientInterceptorContext<TRequest, TResponse> context, AsyncDuplexStreamingCallContinuation<TRequest, TResponse> continuation)
    {
        var call = continuation(context);
        return new AsyncDuplexStreamingCall<TRequest, TResponse>(
            call.RequestStream, new CheckedReader<TResponse>(call.ResponseStream, context.Method), call.ResponseHeadersAsync, call.GetStatus, call.GetTrailers, call.Dispose);
    }

    private static async Task<T> CheckedAsync<T>(Task<T> response, IMethod method) => Checked(await response.ConfigureAwait(false), method);

    private static T Checked<T>(T response, IMethod method) => response is IMessage message && WireRules.Refusal(message) is { } refusal
        ? throw new RpcException(new Status(StatusCode.OutOfRange, $"What {method.Name} answered cannot be used: {refusal}"))
        : response;

    private sealed class CheckedReader<T>(IAsyncStreamReader<T> inner, IMethod method) : IAsyncStreamReader<T>
    {
        public T Current => inner.Current;

        public async Task<bool> MoveNext(CancellationToken cancellationToken)
        {
            if (!await inner.MoveNext(cancellationToken).ConfigureAwait(false))
                return false;
            Checked(inner.Current, method);
            return true;
        }
    }
}
