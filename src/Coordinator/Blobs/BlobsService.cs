using Google.Protobuf;
using Grpc.Core;
using MLDistributed.Coordinator.Calls;
using MLDistributed.Coordinator.Cluster;
using MLDistributed.Coordinator.Datasets;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Blobs;

/// <summary>Sends blobs and datasets from any offset on, and receives the blobs of workers, and of clients whose jobs need them.</summary>
internal sealed class BlobsService(BlobStore blobs, DatasetStore datasets, Ownership ownership, ClusterController cluster, EventLoop loop, Journal journal, MessageBudget budget, CoordinatorOptions options, IHostApplicationLifetime lifetime)
    : Protocol.Blobs.BlobsBase
{
    private const int ChunkBytes = 256 << 10;
    private static readonly TimeSpan s_longestPause = TimeSpan.FromMinutes(2); // of a reader

    public override async Task Download(DownloadRequest request, IServerStreamWriter<Chunk> responseStream, ServerCallContext context)
    {
        var what = request.Kind == BlobKind.Dataset ? "Dataset" : "Blob";
        var id = Parse(what, request.Id);
        if (!await MayFetchAsync(Caller.Of(context), request.Kind, id, context.CancellationToken).ConfigureAwait(false))
            throw Missing(what, id);
        await RequireWholeAsync(what, request.Kind, id, request.IsDoubted, context.CancellationToken).ConfigureAwait(false);
        await budget.HoldAsync(context, 2 * ChunkBytes).ConfigureAwait(false);
        using var file = Open(what, request.Kind == BlobKind.Dataset ? datasets.PathOf(id) : blobs.PathOf(id), id);
        var total = RandomAccess.GetLength(file);
        if (request.Offset < 0 || request.Offset > total)
            throw new RpcException(new Status(StatusCode.OutOfRange, $"Offset is {request.Offset}, expected 0 to {total}, the size of {what.ToLowerInvariant()} \"{id}\"."));

        using var cancellation = CallEnd.Of(context, lifetime);
        var chunk = new Chunk { Id = id.Text, TotalBytes = total };
        var position = request.Offset;
        var end = request.Length > 0 ? position + Math.Min(request.Length, total - position) : total;
        do
        {
            var buffer = new byte[(int)Math.Min(ChunkBytes, end - position)];
            var count = buffer.Length == 0 ? 0 : await RandomAccess.ReadAsync(file, buffer, position, cancellation.Token).ConfigureAwait(false);
            if (count == 0 && buffer.Length > 0)
                throw new RpcException(new Status(StatusCode.DataLoss, $"{what} \"{id}\" ended at byte {position}, expected {total} bytes. Ask again."));
            chunk.Data = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, count));
            await SendAsync(responseStream, chunk, context, cancellation.Token).ConfigureAwait(false);
            position += count;
            chunk = new Chunk();
        }
        while (position < end);
    }

    private async Task SendAsync(IServerStreamWriter<Chunk> stream, Chunk chunk, ServerCallContext context, CancellationToken cancellation)
    {
        try
        {
            await stream.SendAsync(chunk, cancellation).WaitAsync(s_longestPause, options.Time, cancellation).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            context.GetHttpContext().Abort(); // who reads nothing reads no status either
            throw new RpcException(new Status(StatusCode.DeadlineExceeded, $"The download was not read for {s_longestPause.TotalSeconds:0} s, expected it read as it comes. Go on from what has come."));
        }
    }

    // A worker may fetch what its attempts need; which those are, the event loop knows.
    private async Task<bool> MayFetchAsync(Caller caller, BlobKind kind, ContentHash id, CancellationToken cancellation) => caller.WorkerId is { } worker
        ? await loop.InvokeAsync(() => cluster.MayFetch(worker, kind, id)).ConfigureAwait(false)
        : await ownership.MayUseAsync(caller, id, cancellation).ConfigureAwait(false);

    public override async Task<UploadReply> Upload(IAsyncStreamReader<Chunk> requestStream, ServerCallContext context)
    {
        using var stop = CallEnd.Of(context, lifetime);
        var cancellation = stop.Token;
        if (!await requestStream.NextAsync(cancellation).ConfigureAwait(false))
            throw new RpcException(new Status(StatusCode.InvalidArgument, "The upload has no chunk, expected a first one with id and total_bytes."));
        var (id, total) = (Parse("Blob", requestStream.Current.Id), requestStream.Current.TotalBytes);
        if (total < 0 || total > options.MaxUploadBytes)
            throw new RpcException(new Status(StatusCode.ResourceExhausted, $"Blob \"{id}\" has {total} bytes, expected at most {options.MaxUploadBytes}."));
        var caller = Caller.Of(context);
        var worker = caller.WorkerId;
        if (worker is not null && !await loop.InvokeAsync(() => cluster.MayStore(worker)).ConfigureAwait(false))
            throw NoAttempt(id, worker);
        // Who has it must show it, even where it is here already: an id alone proves nothing. This machine's own user may read the folder.
        if (!caller.IsLocal || !blobs.IsKnownWhole(id))
        {
            StoreException.RequireRoom($"Blob \"{id}\"", blobs.Folder, total, options.MinFreeBytes);
            await ReceiveAsync(requestStream, id, total, cancellation).ConfigureAwait(false);
        }

        Record(id, new FileInfo(blobs.PathOf(id)).Length);
        if (worker is not null && !await loop.InvokeAsync(() => cluster.Stored(worker, id)).ConfigureAwait(false))
            throw NoAttempt(id, worker);
        if (worker is null && !caller.IsLocal)
            ownership.Grant(id, caller.Tenant);
        await journal.FlushAsync().ConfigureAwait(false); // it is named next, and a restart must know whose it is
        return new UploadReply { Artifact = new Artifact { Id = id.Text, SizeBytes = new FileInfo(blobs.PathOf(id)).Length } };
    }

    private async Task ReceiveAsync(IAsyncStreamReader<Chunk> chunks, ContentHash id, long total, CancellationToken cancellation)
    {
        var writer = blobs.Create();
        await using (writer.ConfigureAwait(false))
        {
            do
            {
                await writer.AppendAsync(chunks.Current.Data.Memory, cancellation).ConfigureAwait(false);
                if (writer.Length > total)
                    break;
            }
            while (await chunks.NextAsync(cancellation).ConfigureAwait(false));

            if (writer.Length != total)
                throw new RpcException(new Status(StatusCode.DataLoss, $"Blob \"{id}\" came with {writer.Length} bytes, expected {total}. Upload it again."));
            var hash = await writer.CompleteAsync(id).ConfigureAwait(false);
            if (hash != id)
                throw new RpcException(new Status(StatusCode.DataLoss, $"Blob \"{id}\" came with the hash \"{hash}\". Upload it again."));
        }
    }

    private void Record(ContentHash id, long size)
    {
        var name = id.Text;
        var now = options.Time.GetUtcNow();
        journal.Append(context =>
        {
            if (context.Blobs.Find(name) is { } known)
                known.UsedAt = now;
            else
                context.Blobs.Add(new BlobRow { Id = name, SizeBytes = size, CreatedAt = now, UsedAt = now });
        });
    }

    private static Microsoft.Win32.SafeHandles.SafeFileHandle Open(string what, string path, ContentHash id)
    {
        try
        {
            return File.OpenHandle(path, options: FileOptions.Asynchronous | FileOptions.SequentialScan, share: FileShare.Read | FileShare.Delete);
        }
        catch (FileNotFoundException)
        {
            throw Missing(what, id);
        }
    }

    private static RpcException NoAttempt(ContentHash id, string worker) =>
        new(new Status(StatusCode.PermissionDenied, $"Blob \"{id}\" came from worker \"{worker}\", which has no attempt it could belong to."));

    private async Task RequireWholeAsync(string what, BlobKind kind, ContentHash id, bool isDoubted, CancellationToken cancellation)
    {
        var health = kind == BlobKind.Dataset
            ? await datasets.CheckAsync(id, isDoubted, cancellation).ConfigureAwait(false)
            : await blobs.CheckAsync(id, isDoubted, cancellation).ConfigureAwait(false);
        if (health == FileHealth.Missing)
            throw Missing(what, id);
        if (health == FileHealth.Damaged)
            throw new RpcException(new Status(StatusCode.DataLoss, $"{what} \"{id}\" was damaged on the coordinator's disk and is removed, expected the content of its id. {(kind == BlobKind.Dataset ? "Send it again, as the next Fit does by itself" : "Train again, or restore it from a backup")}, and check that disk."));
    }

    // Another tenant's file does not exist for this one.
    private static RpcException Missing(string what, ContentHash id) =>
        new(new Status(StatusCode.NotFound, $"{what} \"{id}\" is not in the store. It was never uploaded by this key's tenant or made by its jobs, or was removed by its age."));

    private static ContentHash Parse(string what, string text) => ContentHash.TryParse(text, out var id)
        ? id
        : throw new RpcException(new Status(StatusCode.InvalidArgument, $"{what} id is \"{text}\", expected {ContentHash.Expectation}."));
}
