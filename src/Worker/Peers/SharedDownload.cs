using System.Diagnostics;
using Grpc.Core;
using MLDistributed.Protocol;
using MLDistributed.Worker.Transfers;

namespace MLDistributed.Worker.Peers;

/// <summary>
/// A dataset from the coordinator and from the attempt's other workers at once. Each worker takes a share of it from the
/// coordinator, and the others' shares from them, as they come: so the coordinator sends the whole about once. What a worker
/// does not give in time, the coordinator gives.
/// </summary>
internal sealed class SharedDownload : IDisposable
{
    private readonly ContentHash _id;
    private readonly GrowingFile _file;
    private readonly DataPeers? _peers;
    private readonly BlobTransfer _blobs;
    private readonly Action<long, long>? _onProgress;
    private readonly Stopwatch _own = new(); // while this worker's share comes
    private long _ownBytes;
    private long _blamed; // bytes of other workers that were fetched again
    private volatile bool _isOwnHere;

    private SharedDownload(ContentHash id, GrowingFile file, DataPeers? peers, BlobTransfer blobs, Action<long, long>? onProgress) =>
        (_id, _file, _peers, _blobs, _onProgress) = (id, file, peers, blobs, onProgress);

    /// <summary>Fetches what is missing, while the other workers get what is here. The content is the caller's to check.</summary>
    /// <param name="id">The dataset.</param>
    /// <param name="path">Where to; it is removed when the disk is full.</param>
    /// <param name="total">Its bytes.</param>
    /// <param name="peers">The other workers; null: what is missing comes from the coordinator.</param>
    /// <param name="blobs">The coordinator.</param>
    /// <param name="onProgress">Hears the bytes that are here, and all.</param>
    /// <param name="isDoubted">Other content came before: the coordinator is to look at its own.</param>
    /// <exception cref="TransferException">The coordinator does not give it.</exception>
    /// <exception cref="IOException">This machine's disk does not take it; the message says where and what is free.</exception>
    public static async Task<SharedDownload> RunAsync(ContentHash id, string path, long total, DataPeers? peers, BlobTransfer blobs, Action<long, long>? onProgress, bool isDoubted, TimeProvider time, CancellationToken cancellation)
    {
        var file = GrowingFile.Open(path, total, time);
        var download = new SharedDownload(id, file, peers, blobs, onProgress);
        try
        {
            if (total - file.Count > DiskSpace.FreeBytes(Path.GetDirectoryName(path)!))
                throw DiskSpace.Full("too large"); // before it fills the disk for others
            if (peers is not null)
                await peers.ServeAsync(id, file).ConfigureAwait(false);
            await download.FetchAsync(peers, isDoubted, cancellation).ConfigureAwait(false);
            return download;
        }
        catch (Exception e) when (DiskSpace.IsFull(e))
        {
            download.Abandon();
            file.Dispose(); // open, it would keep what it takes; who reads it asks others
            GrowingFile.Delete(path); // half of it would keep the disk full
            throw DiskSpace.Full(DiskSpace.Explain($"{BlobKind.Dataset} \"{id}\" ({DiskSpace.Words(total)})", Path.GetDirectoryName(path)!, e));
        }
        catch
        {
            download.Abandon();
            download.Dispose();
            throw;
        }
    }

    /// <summary>The content is another: fetches what other workers gave from the coordinator, when that has found its own file whole.</summary>
    /// <returns>False: they gave nothing.</returns>
    /// <exception cref="TransferException">The coordinator does not give it.</exception>
    public async Task<bool> FetchAgainAsync(string found, CancellationToken cancellation)
    {
        if (_peers is null || _file.CountFrom(PartOrigin.Peer) == 0)
            return false;
        await _blobs.CheckAsync(_id, BlobKind.Dataset, _file.Total, isDoubted: true, cancellation).ConfigureAwait(false);
        _blamed = _file.CountFrom(PartOrigin.Peer);
        _peers.Say(LogLevel.Warning, $"the data came with the content of \"{found}\", expected that of \"{_id}\": what other workers gave of it ({DiskSpace.Words(_blamed)}) is fetched again, from the coordinator, whose file is whole");
        _file.KeepTheCoordinators();
        await FetchAsync(peers: null, isDoubted: false, cancellation).ConfigureAwait(false);
        return true;
    }

    /// <summary>Tells where it came from.</summary>
    public void Tell()
    {
        if (_peers is null)
            return;
        _peers.Log.DataCame(_id.Text, _file.CountFrom(PartOrigin.Coordinator), _file.CountFrom(PartOrigin.Peer), _file.CountFrom(PartOrigin.Before));
        if (_blamed > 0)
            _peers.Say(LogLevel.Warning, $"what other workers gave of the data ({DiskSpace.Words(_blamed)}) was not that of \"{_id}\", and what the coordinator gave is. Look at their disks");
        _peers.Say(LogLevel.Info, $"has the data: {DiskSpace.Words(_file.Total)}, of which {DiskSpace.Words(_file.CountFrom(PartOrigin.Peer))} from other workers");
    }

    /// <summary>Nothing more will come of it; who waits for it asks others.</summary>
    public void Abandon() => _file.Abandon();

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_peers is null)
            _file.Dispose(); // else others read it until the attempt begins
    }

    private async Task FetchAsync(DataPeers? peers, bool isDoubted, CancellationToken cancellation)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var fetching = Enumerable.Range(0, peers?.Count ?? 1).Select(owner => FetchShareAsync(owner, isDoubted, peers, ended.Token)).ToList();
        try
        {
            await foreach (var share in Task.WhenEach(fetching).ConfigureAwait(false))
                await share.ConfigureAwait(false); // the first that fails is what failed
        }
        finally
        {
            await ended.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(fetching).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            _file.Settle();
        }
    }

    private async Task FetchShareAsync(int owner, bool isDoubted, DataPeers? peers, CancellationToken cancellation)
    {
        await Task.Yield();
        var share = FileParts.Share(_file.Total, owner, peers?.Count ?? 1);
        var isOwn = owner == peers?.Place;
        if (peers is not null && !isOwn && _file.Missing(share).Count > 0 && await peers.FindAsync(owner, cancellation).ConfigureAwait(false) is { } peer)
            await FetchFromPeerAsync(peers, owner, peer, share, cancellation).ConfigureAwait(false);
        if (isOwn)
            _own.Start();
        foreach (var gap in _file.Missing(share))
            await _blobs.DownloadPartAsync(Request(gap, isDoubted), WriteCoordinatorsAsync, cancellation).ConfigureAwait(false);
        if (isOwn)
        {
            _own.Stop();
            _isOwnHere = true;
        }

        async Task WriteCoordinatorsAsync(long position, ReadOnlyMemory<byte> bytes)
        {
            await WriteAsync(position, bytes, PartOrigin.Coordinator, cancellation).ConfigureAwait(false);
            if (isOwn)
                Interlocked.Add(ref _ownBytes, bytes.Length);
        }
    }

    private async Task FetchFromPeerAsync(DataPeers peers, int owner, CallInvoker peer, FileRange share, CancellationToken cancellation)
    {
        var pace = new PeerPace();
        try
        {
            foreach (var gap in _file.Missing(share))
                await new PartDownload(Request(gap, isDoubted: false), (position, bytes) => WriteAsync(position, bytes, PartOrigin.Peer, cancellation), _file.Total)
                    .GoOnAsync(peer, next => next.WaitAsync(DataPeers.SilenceLimit, peers.Time), cancellation, Judge).ConfigureAwait(false);
        }
        catch (Exception e) when (e is RpcException or TimeoutException or EndOfStreamException or InvalidOperationException or OperationCanceledException)
        {
            cancellation.ThrowIfCancellationRequested();
            var reason = e is RpcException rpc ? rpc.Status.Detail : e is TimeoutException ? $"it said nothing for {DataPeers.SilenceLimit.TotalSeconds:0} s" : e.Message;
            peers.Log.PeerLeft(_id.Text, peers.NameOf(owner), _file.Missing(share).Sum(g => g.Length), reason);
        }

        void Judge(int bytes)
        {
            if (pace.Judge(peers.Time.GetElapsedTime(0), bytes, Interlocked.Read(ref _ownBytes) / Math.Max(_own.Elapsed.TotalSeconds, 1), _isOwnHere) is { } reason)
                throw new EndOfStreamException(reason);
        }
    }

    private DownloadRequest Request(FileRange gap, bool isDoubted) => new() { Id = _id.Text, Kind = BlobKind.Dataset, Offset = gap.Start, Length = gap.Length, IsDoubted = isDoubted };

    private async Task WriteAsync(long position, ReadOnlyMemory<byte> bytes, PartOrigin origin, CancellationToken cancellation)
    {
        if (bytes.Length == 0)
            return;
        await _file.WriteAsync(position, bytes, origin, cancellation).ConfigureAwait(false);
        _onProgress?.Invoke(_file.Count, _file.Total);
    }
}
