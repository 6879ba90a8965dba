using Grpc.Core;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>
/// Waits on a call's streams that end with a token. gRPC's own tokens abort the whole call, and the caller would
/// see a broken connection instead of the status that says why.
/// </summary>
internal static class StreamExtensions
{
    public static Task<bool> NextAsync<T>(this IAsyncStreamReader<T> stream, CancellationToken cancellation) =>
        stream.MoveNext(CancellationToken.None).WaitAsync(cancellation);

    public static Task SendAsync<T>(this IServerStreamWriter<T> stream, T message, CancellationToken cancellation) =>
        stream.WriteAsync(message, CancellationToken.None).WaitAsync(cancellation);
}
