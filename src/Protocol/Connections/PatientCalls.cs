using Grpc.Core;
using Grpc.Core.Interceptors;

namespace MLDistributed.Protocol;

/// <summary>Ends every call with one answer that has none in time, with <see cref="StatusCode.DeadlineExceeded"/>; the time counts while this process runs.</summary>
/// <param name="limit">How long the other side may say nothing.</param>
/// <param name="time">The clock.</param>
public sealed class PatientCalls(TimeSpan limit, TimeProvider time) : Interceptor
{
    /// <inheritdoc/>
    public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(TRequest request, ClientInterceptorContext<TRequest, TResponse> context, AsyncUnaryCallContinuation<TRequest, TResponse> continuation)
    {
        ArgumentNullException.ThrowIfNull(continuation);
        var call = continuation(request, context);
        return new AsyncUnaryCall<TResponse>(call.AnswerWithinAsync(limit, time), call.ResponseHeadersAsync, call.GetStatus, call.GetTrailers, call.Dispose);
    }
}
