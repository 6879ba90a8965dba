using Google.Protobuf;
using Grpc.Core;
using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Connections;

namespace MLDistributed.Worker.Transfers;

/// <summary>A file cannot be had or given, and another try would not help.</summary>
internal sealed class TransferException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>The store does not have it, or not whole: whoever made it must send it again.</summary>
    public bool IsLost { get; init; }
}

/// <summary>Files to and from the coordinator's store. Goes on until done, however often the coordinator is away meanwhile.</summary>
/// <param name="invoker">Gives the present connection.</param>
internal sealed class BlobTransfer(Func<CallInvoker> invoker, TimeProvider time, AgentLog log)
{
    private const int ChunkBytes = 256 << 10;
    private const int MaxDefects = 5;

    // Longer than the coordinator hashes a file that it doubts before it sends the first byte.
    private static readonly TimeSpan Stall = TimeSpan.FromMinutes(5);

    /// <summary>Appends what is missing to the file. The content is the caller's to check.</summary>
    /// <param name="id">What to fetch.</param>
    /// <param name="kind">Where it is kept.</param>
    /// <param name="path">Where to; it is removed when the disk is full.</param>
    /// <param name="onProgress">Hears the bytes that are here, and all.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <param name="isDoubted">Other content came before: the coordinator is to look at its own.</param>
    /// <exception cref="TransferException">The coordinator does not give it.</exception>
    /// <exception cref="IOException">This machine's disk does not take it; the message says where and what is free.</exception>
    public async Task DownloadAsync(ContentHash id, BlobKind kind, string path, Action<long, long>? onProgress, CancellationToken cancellation, bool isDoubted = false)
    {
        var size = 0L;
        try
        {
            await DownloadWithRetriesAsync(id, kind, path, OnProgress, isDoubted, cancellation).ConfigureAwait(false);
        }
        catch (IOException e) when (DiskSpace.IsFull(e))
        {
            File.Delete(path); // half of it would keep the disk full
            throw DiskSpace.Full(DiskSpace.Explain($"{kind} \"{id}\" ({DiskSpace.Words(size)})", Path.GetDirectoryName(path)!, e));
        }

        void OnProgress(long bytes, long total)
        {
            size = total;
            onProgress?.Invoke(bytes, total);
        }
    }

    /// <summary>Has the coordinator look whether a file in its store is whole, where it is in doubt.</summary>
    /// <param name="id">The file.</param>
    /// <param name="kind">What it is.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="isDoubted">Other content came from there: it is hashed in any case.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="TransferException">It is not.</exception>
    public Task CheckAsync(ContentHash id, BlobKind kind, long length, bool isDoubted, CancellationToken cancellation) => RetryAsync($"Check of \"{id}\"", async () =>
    {
        // From the end on: nothing is sent.
        using var call = new Blobs.BlobsClient(invoker()).Download(new DownloadRequest { Id = id.Text, Kind = kind, Offset = length, IsDoubted = isDoubted }, cancellationToken: cancellation);
        return await InTimeAsync(call.ResponseStream.MoveNext(cancellation), "did not answer").ConfigureAwait(false);
    }, cancellation);

    /// <summary>How many bytes a file in the store has.</summary>
    /// <exception cref="TransferException">The coordinator does not give it.</exception>
    public Task<long> SizeAsync(ContentHash id, BlobKind kind, CancellationToken cancellation) => RetryAsync($"Size of \"{id}\"", async () =>
    {
        using var call = new Blobs.BlobsClient(invoker()).Download(new DownloadRequest { Id = id.Text, Kind = kind, Length = 1 }, cancellationToken: cancellation);
        return await InTimeAsync(call.ResponseStream.MoveNext(cancellation), "did not answer").ConfigureAwait(false) ? call.ResponseStream.Current.TotalBytes : 0;
    }, cancellation);

    /// <summary>Fetches some of a file's bytes.</summary>
    /// <param name="request">What of which file.</param>
    /// <param name="write">Takes bytes and where they belong, in order.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="TransferException">The coordinator does not give it.</exception>
    public Task DownloadPartAsync(DownloadRequest request, Func<long, ReadOnlyMemory<byte>, Task> write, CancellationToken cancellation)
    {
        var part = new PartDownload(request, write);
        return RetryAsync($"Download of \"{request.Id}\"", async () =>
        {
            await part.GoOnAsync(invoker(), next => InTimeAsync(next, "sent nothing"), cancellation).ConfigureAwait(false);
            return true;
        }, cancellation);
    }

    private Task DownloadWithRetriesAsync(ContentHash id, BlobKind kind, string path, Action<long, long> onProgress, bool isDoubted, CancellationToken cancellation) =>
        RetryAsync($"Download of \"{id}\"", async () =>
        {
            // Without a buffer, as chunks are large: so closing cannot fail on a full disk.
            var file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read, 0);
            await using var closing = file.ConfigureAwait(false);
            using var call = new Blobs.BlobsClient(invoker()).Download(new DownloadRequest { Id = id.Text, Kind = kind, Offset = file.Length, IsDoubted = isDoubted }, cancellationToken: cancellation);
            long? total = null;
            while (await InTimeAsync(call.ResponseStream.MoveNext(cancellation), "sent nothing").ConfigureAwait(false))
            {
                var chunk = call.ResponseStream.Current;
                if (total is null)
                    onProgress(file.Length, chunk.TotalBytes);
                if (total is null && chunk.TotalBytes - file.Length > DiskSpace.FreeBytes(Path.GetDirectoryName(path)!))
                    throw DiskSpace.Full("too large"); // before it fills the disk for others
                total ??= chunk.TotalBytes;
                if (chunk.Data.Length > total - file.Length)
                    throw new TransferException($"{kind} \"{id}\" came with more than its {total} bytes, expected those of its id. Look at the coordinator's disk.");
                await file.WriteAsync(chunk.Data.Memory, cancellation).ConfigureAwait(false);
                onProgress(file.Length, total.Value);
            }

            if (total > file.Length)
                throw new EndOfStreamException($"the stream ended after {file.Length} of {total} bytes");
            return true;
        }, cancellation);

    /// <summary>Stores a file. Goes on until done.</summary>
    /// <param name="path">The file.</param>
    /// <param name="onProgress">Hears the bytes that were sent, and all.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="TransferException">The coordinator does not take it.</exception>
    public async Task<Artifact> UploadAsync(string path, Action<long, long>? onProgress, CancellationToken cancellation)
    {
        var id = await ContentHash.OfFileAsync(path, cancellation).ConfigureAwait(false);
        return await RetryAsync($"Upload of \"{Path.GetFileName(path)}\"", async () =>
        {
            using var call = new Blobs.BlobsClient(invoker()).Upload(cancellationToken: cancellation);
            var file = File.OpenRead(path);
            await using var closing = file.ConfigureAwait(false);
            var buffer = new byte[ChunkBytes];
            var chunk = new Chunk { Id = id.Text, TotalBytes = file.Length };
            int read;
            do
            {
                read = await file.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellation).ConfigureAwait(false);
                chunk.Data = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, read));
                if (!await InTimeAsync(call.RequestStream.WriteAsync(chunk, cancellation).IsTakenAsync(), "took nothing").ConfigureAwait(false))
                    break;
                chunk = new Chunk();
                onProgress?.Invoke(file.Position, file.Length);
            }
            while (read == buffer.Length);
            await call.RequestStream.CompleteAsync().IsTakenAsync().ConfigureAwait(false);
            var reply = await InTimeAsync(call.ResponseAsync, "did not answer").ConfigureAwait(false);
            return reply.Artifact?.Hash == id ? reply.Artifact : throw new TransferException($"The store names \"{Path.GetFileName(path)}\" \"{reply.Artifact?.Id}\", expected its SHA-256 \"{id}\".");
        }, cancellation).ConfigureAwait(false);
    }

    // A coordinator that answers pings and nothing else is tried again, on another connection.
    private async Task<T> InTimeAsync<T>(Task<T> part, string words)
    {
        try
        {
            return await part.WaitAsync(Stall, time).ConfigureAwait(false);
        }
        catch (TimeoutException e)
        {
            throw new RpcException(new Status(StatusCode.DeadlineExceeded, $"the coordinator {words} for {Stall.TotalMinutes:0} min", e));
        }
    }

    private async Task<T> RetryAsync<T>(string what, Func<Task<T>> transfer, CancellationToken cancellation)
    {
        var start = time.GetTimestamp();
        for (var answers = 0; ;)
        {
            var (reason, least) = ("", TimeSpan.Zero);
            try
            {
                return await transfer().ConfigureAwait(false);
            }
            catch (RpcException e) when (IsFinal(e) || (IsDefect(e) && ++answers == MaxDefects))
            {
                throw new TransferException($"{what} is refused by the coordinator: {e.Status.Detail}", e) { IsLost = e.StatusCode is StatusCode.NotFound or StatusCode.DataLoss or StatusCode.OutOfRange };
            }
            catch (Exception e) when (e is RpcException or ObjectDisposedException or OperationCanceledException or InvalidOperationException or EndOfStreamException)
            {
                (reason, least) = e is RpcException rpc ? (rpc.Status.Detail, Pushback.Of(rpc) ?? least) : (e.Message, least);
            }

            cancellation.ThrowIfCancellationRequested();
            var delay = least + Backoff.Delay(time.GetElapsedTime(start), Random.Shared.NextDouble());
            log.TransferRetried(what, delay.TotalSeconds, reason);
            await Task.Delay(delay, time, cancellation).ConfigureAwait(false);
        }
    }

    // The coordinator answered, and did not mean to: once may be an accident.
    private static bool IsDefect(RpcException e) => e.StatusCode is StatusCode.Unknown or StatusCode.Internal && e.Status.DebugException is null;

    private static bool IsFinal(RpcException e) => e.StatusCode is StatusCode.NotFound or StatusCode.InvalidArgument or StatusCode.PermissionDenied
        or StatusCode.FailedPrecondition or StatusCode.OutOfRange or StatusCode.DataLoss or StatusCode.Unimplemented or StatusCode.ResourceExhausted && Pushback.Of(e) is null;
}
