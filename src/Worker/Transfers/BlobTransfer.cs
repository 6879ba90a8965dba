using System.Security.Cryptography;
using Google.Protobuf;
using Grpc.Core;
using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Connections;

namespace MLDistributed.Worker.Transfers;

/// <summary>A file cannot be had or given, and another try would not help.</summary>
internal sealed class TransferException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>Files to and from the coordinator's store. Goes on until done, however often the coordinator is away meanwhile.</summary>
/// <param name="invoker">Gives the present connection.</param>
internal sealed class BlobTransfer(Func<CallInvoker> invoker, TimeProvider time, AgentLog log)
{
    private const int ChunkBytes = 256 << 10;

    /// <summary>Appends what is missing to the file. The content is the caller's to check.</summary>
    public Task DownloadAsync(string id, BlobKind kind, string path, CancellationToken cancellation) =>
        RetryAsync($"Download of \"{id}\"", async () =>
        {
            var file = new FileStream(path, FileMode.Append, FileAccess.Write);
            await using var closing = file.ConfigureAwait(false);
            using var call = new Blobs.BlobsClient(invoker()).Download(new DownloadRequest { Id = id, Kind = kind, Offset = file.Length }, cancellationToken: cancellation);
            long? total = null;
            while (await call.ResponseStream.MoveNext(cancellation).ConfigureAwait(false))
            {
                var chunk = call.ResponseStream.Current;
                total ??= chunk.TotalBytes;
                await file.WriteAsync(chunk.Data.Memory, cancellation).ConfigureAwait(false);
            }

            if (total > file.Length)
                throw new EndOfStreamException($"the stream ended after {file.Length} of {total} bytes");
            return true;
        }, cancellation);

    public async Task<Artifact> UploadAsync(string path, CancellationToken cancellation)
    {
        var id = await HashAsync(path, cancellation).ConfigureAwait(false);
        return await RetryAsync($"Upload of \"{Path.GetFileName(path)}\"", async () =>
        {
            using var call = new Blobs.BlobsClient(invoker()).Upload(cancellationToken: cancellation);
            var file = File.OpenRead(path);
            await using var closing = file.ConfigureAwait(false);
            var buffer = new byte[ChunkBytes];
            var chunk = new Chunk { Id = id, TotalBytes = file.Length };
            try
            {
                int read;
                do
                {
                    read = await file.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellation).ConfigureAwait(false);
                    chunk.Data = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, read));
                    await call.RequestStream.WriteAsync(chunk, cancellation).ConfigureAwait(false);
                    chunk = new Chunk();
                }
                while (read == buffer.Length);
                await call.RequestStream.CompleteAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (e is InvalidOperationException or RpcException { StatusCode: StatusCode.Cancelled } && !cancellation.IsCancellationRequested)
            {
                // The server answered before the end: what it said is in the reply.
            }

            var reply = await call.ResponseAsync.ConfigureAwait(false);
            return reply.Artifact.Id == id ? reply.Artifact : throw new TransferException($"The store names \"{Path.GetFileName(path)}\" \"{reply.Artifact.Id}\", expected its SHA-256 \"{id}\".");
        }, cancellation).ConfigureAwait(false);
    }

    /// <summary>The id of a file as an artifact.</summary>
    public static async Task<string> HashAsync(string path, CancellationToken cancellation)
    {
        var file = File.OpenRead(path);
        await using var closing = file.ConfigureAwait(false);
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(file, cancellation).ConfigureAwait(false));
    }

    private async Task<T> RetryAsync<T>(string what, Func<Task<T>> transfer, CancellationToken cancellation)
    {
        var start = time.GetTimestamp();
        while (true)
        {
            string reason;
            try
            {
                return await transfer().ConfigureAwait(false);
            }
            catch (RpcException e) when (IsFinal(e.StatusCode))
            {
                throw new TransferException($"{what} is refused by the coordinator: {e.Status.Detail}", e);
            }
            catch (Exception e) when (!cancellation.IsCancellationRequested && e is RpcException or ObjectDisposedException or OperationCanceledException or InvalidOperationException or EndOfStreamException)
            {
                reason = e is RpcException rpc ? rpc.Status.Detail : e.Message;
            }

            cancellation.ThrowIfCancellationRequested();
            var delay = Backoff.Delay(time.GetElapsedTime(start), Random.Shared.NextDouble());
            log.TransferRetried(what, delay.TotalSeconds, reason);
            await Task.Delay(delay, time, cancellation).ConfigureAwait(false);
        }
    }

    private static bool IsFinal(StatusCode code) => code is StatusCode.NotFound or StatusCode.InvalidArgument or StatusCode.PermissionDenied
        or StatusCode.FailedPrecondition or StatusCode.OutOfRange or StatusCode.DataLoss or StatusCode.Unimplemented or StatusCode.ResourceExhausted;
}
