using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Transfers;

/// <summary>Some of a file's bytes from a service of blobs, or from one after the other.</summary>
/// <param name="request">What of which file, with a length.</param>
/// <param name="write">Takes bytes and where they belong, in order.</param>
/// <param name="total">The bytes of the whole file, of which a service may have one of the same content in another layout; 0: it cannot.</param>
internal sealed class PartDownload(DownloadRequest request, Func<long, ReadOnlyMemory<byte>, Task> write, long total = 0)
{
    /// <summary>Receives what is left.</summary>
    /// <param name="invoker">The service.</param>
    /// <param name="inTime">Bounds the wait for each message.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <param name="onMessage">Hears how many bytes a message brought, and may throw.</param>
    /// <exception cref="EndOfStreamException">Less came than was asked for.</exception>
    /// <exception cref="RpcException">The service does not give it.</exception>
    public async Task GoOnAsync(CallInvoker invoker, Func<Task<bool>, Task<bool>> inTime, CancellationToken cancellation, Action<int>? onMessage = null)
    {
        if (request.Length == 0)
            return;
        using var call = new Blobs.BlobsClient(invoker).Download(request, cancellationToken: cancellation);
        while (request.Length > 0)
        {
            if (!await inTime(call.ResponseStream.MoveNext(cancellation)).ConfigureAwait(false))
                throw new EndOfStreamException($"the stream ended {request.Length} bytes too early");
            var chunk = call.ResponseStream.Current;
            if (total > 0 && chunk.TotalBytes > 0 && chunk.TotalBytes != total)
                throw new EndOfStreamException($"its file has {chunk.TotalBytes} bytes, and the coordinator's {total}: another layout");
            var data = chunk.Data.Memory;
            data = data[..(int)Math.Min(data.Length, request.Length)]; // whatever it sends
            await write(request.Offset, data).ConfigureAwait(false);
            request.Offset += data.Length;
            request.Length -= data.Length;
            onMessage?.Invoke(data.Length);
        }
    }
}
