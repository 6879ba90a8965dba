using System.Collections.Concurrent;
using Google.Protobuf;
using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Peers;

/// <summary>Gives the other workers of an attempt its datasets, as far as they are here and as they come.</summary>
/// <param name="ids">The attempt's; of those no others are asked for.</param>
internal sealed class PeerBlobs(IEnumerable<ContentHash> ids, TimeProvider time) : Blobs.BlobsBase, IDisposable
{
    private const int ChunkBytes = 256 << 10;
    private static readonly TimeSpan s_signInterval = TimeSpan.FromSeconds(1); // of life, to who waits

    private readonly Dictionary<ContentHash, Served> _files = ids.Distinct().ToDictionary(id => id, _ => new Served());
    private readonly CancellationTokenSource _ended = new();
    private readonly ConcurrentBag<GrowingFile> _all = [];

    /// <summary>Gives this file for a dataset from now on, and closes it in the end.</summary>
    public void Serve(ContentHash id, GrowingFile file)
    {
        _all.Add(file);
        _files[id].Set(file);
    }

    /// <summary>Ends all calls.</summary>
    public void End() => _ended.Cancel();

    public override async Task Download(DownloadRequest request, IServerStreamWriter<Chunk> responseStream, ServerCallContext context)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, _ended.Token);
        if (request.Kind != BlobKind.Dataset || !ContentHash.TryParse(request.Id, out var id) || !_files.TryGetValue(id, out var served))
            throw new RpcException(new Status(StatusCode.NotFound, $"\"{VisibleText.Shortened(request.Id)}\" is no dataset of this attempt."));
        var file = await WaitAsync(served.File, responseStream, stop.Token).ConfigureAwait(false);
        if (request.Offset < 0 || request.Offset > file.Total || request.Length < 0 || request.Length > file.Total - request.Offset)
            throw new RpcException(new Status(StatusCode.OutOfRange, $"Asked for {request.Length} bytes from {request.Offset} on, expected some of the {file.Total} of dataset \"{id}\"."));

        var buffer = new byte[ChunkBytes];
        var chunk = new Chunk { Id = id.Text, TotalBytes = file.Total };
        for (var (position, end) = (request.Offset, request.Offset + request.Length); position < end;)
        {
            var here = await WaitAsync(file.EndAtAsync(position, stop.Token), responseStream, stop.Token).ConfigureAwait(false);
            var count = await file.ReadAsync(position, buffer.AsMemory(0, (int)Math.Min(buffer.Length, Math.Min(here, end) - position)), stop.Token).ConfigureAwait(false);
            if (count == 0)
                throw new RpcException(new Status(StatusCode.DataLoss, $"Dataset \"{id}\" ended at byte {position} of {file.Total} on this worker's disk."));
            chunk.Data = UnsafeByteOperations.UnsafeWrap(buffer.AsMemory(0, count));
            await responseStream.WriteAsync(chunk, stop.Token).ConfigureAwait(false); // serialised when it returns
            position += count;
            chunk = new Chunk();
        }
    }

    public void Dispose()
    {
        foreach (var file in _all)
            file.Dispose();
        _ended.Dispose();
    }

    // Whoever reads must know that this worker lives, and that it has nothing to give.
    private async Task<T> WaitAsync<T>(Task<T> awaited, IServerStreamWriter<Chunk> reader, CancellationToken stop)
    {
        while (!awaited.IsCompleted)
        {
            await reader.WriteAsync(new Chunk(), stop).ConfigureAwait(false);
            using var over = CancellationTokenSource.CreateLinkedTokenSource(stop);
            await Task.WhenAny(awaited, Task.Delay(s_signInterval, time, over.Token)).ConfigureAwait(false);
            await over.CancelAsync().ConfigureAwait(false);
            stop.ThrowIfCancellationRequested();
        }

        return await awaited.ConfigureAwait(false);
    }

    // The newest file counts: one that did not fit its disk is begun again.
    private sealed class Served
    {
        private volatile TaskCompletionSource<GrowingFile> _file = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<GrowingFile> File => _file.Task;

        public void Set(GrowingFile file)
        {
            if (_file.TrySetResult(file))
                return;
            var next = new TaskCompletionSource<GrowingFile>();
            next.SetResult(file);
            _file = next;
        }
    }
}
