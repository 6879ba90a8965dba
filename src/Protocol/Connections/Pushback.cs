using System.Globalization;
using Grpc.Core;
using Grpc.Core.Interceptors;

namespace MLDistributed.Protocol;

/// <summary>
/// A refusal of the moment: a server that has no room for a call says with <see cref="StatusCode.ResourceExhausted"/> when to
/// make it again, in the trailer that gRPC has for it. A refusal without that trailer is one for good.
/// </summary>
public static class Pushback
{
    /// <summary>The trailer: a number of milliseconds.</summary>
    public const string Trailer = "grpc-retry-pushback-ms";

    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(30); // whatever a server says

    /// <summary>A refusal that asks for the same call again.</summary>
    /// <param name="detail">Why, in sentences.</param>
    /// <param name="wait">After what time.</param>
    public static RpcException Refusal(string detail, TimeSpan wait) =>
        new(new Status(StatusCode.ResourceExhausted, detail), new Metadata { { Trailer, ((long)wait.TotalMilliseconds).ToString(CultureInfo.InvariantCulture) } });

    /// <summary>How long the server asks to wait before the same call is made again; null: it asks for nothing.</summary>
    /// <param name="e">How a call failed.</param>
    public static TimeSpan? Of(RpcException e)
    {
        ArgumentNullException.ThrowIfNull(e);
        return e.StatusCode == StatusCode.ResourceExhausted && long.TryParse(e.Trailers.GetValue(Trailer), NumberStyles.None, CultureInfo.InvariantCulture, out var milliseconds)
            ? TimeSpan.FromMilliseconds(Math.Min(milliseconds, s_longest.TotalMilliseconds))
            : null;
    }
}

/// <summary>Makes calls with one answer again that were refused for the moment, a few times, when the server says that they may be.</summary>
/// <param name="time">The clock.</param>
internal sealed class PushbackCalls(TimeProvider time) : Interceptor
{
    private const int MaxAgain = 4;

    public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(TRequest request, ClientInterceptorContext<TRequest, TResponse> context, AsyncUnaryCallContinuation<TRequest, TResponse> continuation)
    {
        var call = continuation(request, context);
        var ended = CancellationTokenSource.CreateLinkedTokenSource(context.Options.CancellationToken);
        return new AsyncUnaryCall<TResponse>(AnswerAsync(), call.ResponseHeadersAsync, () => call.GetStatus(), () => call.GetTrailers(), End);

        async Task<TResponse> AnswerAsync()
        {
            for (var again = 0; ; again++)
            {
                TimeSpan wait;
                try
                {
                    return await call.ResponseAsync.ConfigureAwait(false);
                }
                catch (RpcException e) when (again < MaxAgain && Pushback.Of(e) is { } asked)
                {
                    wait = asked * (1 + (0.5 * Random.Shared.NextDouble())); // those that were refused together do not come together
                }

                await Task.Delay(wait, time, ended.Token).ConfigureAwait(false);
                call.Dispose();
                call = continuation(request, context);
            }
        }

        void End()
        {
            ended.Cancel();
            call.Dispose();
        }
    }
}
