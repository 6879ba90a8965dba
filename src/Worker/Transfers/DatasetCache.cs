using MLDistributed.Protocol;
using MLDistributed.Worker.Peers;

namespace MLDistributed.Worker.Transfers;

/// <summary>
/// Datasets as files on this machine: in the coordinator's store where this machine sees it, else downloaded once and
/// kept. The least recently used go when they are too many, or when the disk is full; never one in use.
/// </summary>
internal sealed class DatasetCache(string folder, long maxBytes, BlobTransfer blobs, TimeProvider time)
{
    private const string Suffix = ".arrow";
    private const string PartialSuffix = ".arrow.partial";
    private readonly Lock _gate = new();
    private readonly Dictionary<ContentHash, Use> _uses = [];
    private readonly CheckedFiles _checked = new();

    /// <summary>The dataset's file, which stays until <see cref="Release"/>.</summary>
    /// <param name="id">The dataset.</param>
    /// <param name="sharedStore">The coordinator's store; empty when this machine cannot see it.</param>
    /// <param name="onProgress">Hears the bytes that are here, and all, while it is fetched.</param>
    /// <param name="peers">Workers that give each other what they have of it; null: the coordinator gives all.</param>
    /// <param name="cancellation">Ends the wait for it.</param>
    /// <exception cref="TransferException">The coordinator does not have it, or what it sends is something else.</exception>
    /// <exception cref="IOException">The disk does not take it.</exception>
    public async Task<string> AcquireAsync(ContentHash id, string sharedStore, Action<long, long>? onProgress, DataPeers? peers, CancellationToken cancellation)
    {
        var use = Begin(id);
        var shared = Path.Combine(sharedStore, "datasets", id + Suffix);
        if (sharedStore.Length > 0 && new FileInfo(shared) is { Exists: true } seen)
        {
            await blobs.CheckAsync(id, BlobKind.Dataset, seen.Length, isDoubted: false, cancellation).ConfigureAwait(false);
            await ServeAsync(id, shared, peers).ConfigureAwait(false);
            return shared;
        }

        var path = Path.Combine(folder, id + Suffix);
        await use.Gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            Directory.CreateDirectory(folder); // should something have removed it
            if (!await IsWholeAsync(id, path, peers, cancellation).ConfigureAwait(false))
                await DownloadAsync(id, path, onProgress, peers, cancellation).ConfigureAwait(false);
            else
                await ServeAsync(id, path, peers).ConfigureAwait(false);
            File.SetLastWriteTimeUtc(path, time.GetUtcNow().UtcDateTime);
            _checked.Add(path);
        }
        finally
        {
            use.Gate.Release();
        }

        Trim(maxBytes);
        return path;
    }

    /// <summary>Once for each <see cref="AcquireAsync"/>, whether it succeeded or not.</summary>
    public void Release(ContentHash id)
    {
        lock (_gate)
            if (_uses.TryGetValue(id, out var use) && --use.Count == 0)
                _uses.Remove(id);
    }

    private Use Begin(ContentHash id)
    {
        lock (_gate)
        {
            if (!_uses.TryGetValue(id, out var use))
                _uses.Add(id, use = new Use());
            use.Count++;
            return use;
        }
    }

    // What an agent before this one left, or another program wrote to, is hashed before it is used again.
    private async Task<bool> IsWholeAsync(ContentHash id, string path, DataPeers? peers, CancellationToken cancellation)
    {
        if (_checked.Has(path))
            return true;
        if (new FileInfo(path) is not { Exists: true } file)
            return false;
        // Hashing takes a second for each GB, and the others do not wait so long to hear where it is.
        if (peers is not null)
            await peers.OfferAsync(file.Length).ConfigureAwait(false);
        return await HashAsync(path, cancellation).ConfigureAwait(false) == id.Text;
    }

    private async Task DownloadAsync(ContentHash id, string path, Action<long, long>? onProgress, DataPeers? peers, CancellationToken cancellation)
    {
        var partial = Path.Combine(folder, id + PartialSuffix);
        // A file that grew over several starts of the agent may hold what a former one wrote wrongly, and the store's own may be
        // damaged: once more from the start, with the doubt told.
        for (var isDoubted = false; ; isDoubted = true)
        {
            using var shared = await FetchAsync(id, partial, onProgress, isDoubted ? null : peers, isDoubted, cancellation).ConfigureAwait(false);
            var found = await HashAsync(partial, cancellation).ConfigureAwait(false);
            if (found != id.Text && shared is not null && await shared.FetchAgainAsync(found, cancellation).ConfigureAwait(false))
                found = await HashAsync(partial, cancellation).ConfigureAwait(false);
            if (found == id.Text)
            {
                File.Move(partial, path, overwrite: true);
                shared?.Tell();
                return;
            }

            shared?.Abandon();
            GrowingFile.Delete(partial);
            if (isDoubted)
                throw new TransferException($"Dataset \"{id}\" came with the content of \"{found}\" twice, expected that of its id: the way here, or this machine's disk, damages data.");
        }
    }

    // Null: it came in one part.
    private async Task<SharedDownload?> FetchAsync(ContentHash id, string partial, Action<long, long>? onProgress, DataPeers? peers, bool isDoubted, CancellationToken cancellation)
    {
        try
        {
            return await FetchOnceAsync(id, partial, onProgress, peers, isDoubted, cancellation).ConfigureAwait(false);
        }
        catch (IOException e) when (DiskSpace.IsFull(e) && Trim(0) > 0)
        {
            // What nobody uses made room.
            return await FetchOnceAsync(id, partial, onProgress, peers, isDoubted, cancellation).ConfigureAwait(false);
        }
    }

    private async Task<SharedDownload?> FetchOnceAsync(ContentHash id, string partial, Action<long, long>? onProgress, DataPeers? peers, bool isDoubted, CancellationToken cancellation)
    {
        var total = peers is null && !GrowingFile.HasNotes(partial) ? 0 : await blobs.SizeAsync(id, BlobKind.Dataset, cancellation).ConfigureAwait(false);
        if (total >= DataPeers.LeastBytes || GrowingFile.HasNotes(partial))
            return await SharedDownload.RunAsync(id, partial, total, total < DataPeers.LeastBytes ? null : peers, blobs, onProgress, isDoubted, time, cancellation).ConfigureAwait(false);
        await blobs.DownloadAsync(id, BlobKind.Dataset, partial, onProgress, cancellation, isDoubted).ConfigureAwait(false);
        return null;
    }

    private async Task ServeAsync(ContentHash id, string path, DataPeers? peers)
    {
        if (peers is not null)
            await peers.ServeAsync(id, GrowingFile.OpenWhole(path, time)).ConfigureAwait(false);
    }

    // In words, as it may have none.
    private static async Task<string> HashAsync(string path, CancellationToken cancellation)
    {
        try
        {
            return (await DatasetHasher.ReadAsync(path, cancellation).ConfigureAwait(false)).Id.Text;
        }
        catch (FormatException e)
        {
            return $"no dataset ({e.Message})";
        }
    }

    /// <summary>Removes the least recently used beyond a size, never one in use; returns how many.</summary>
    private int Trim(long limit)
    {
        // Under the lock: nobody begins to use what is being removed.
        lock (_gate)
        {
            var removed = 0;
            var kept = 0L;
            foreach (var file in new DirectoryInfo(folder).GetFiles("*" + Suffix + "*").OrderByDescending(f => f.LastWriteTimeUtc))
            {
                var length = file.Length;
                kept += length;
                if (kept <= limit || ContentHash.TryParse(file.Name.Split('.')[0], out var id) && _uses.ContainsKey(id) || !TryDelete(file))
                    continue;
                kept -= length;
                removed++;
            }

            return removed;
        }
    }

    private static bool TryDelete(FileInfo file)
    {
        try
        {
            file.Delete();
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false; // the next time
        }
    }

    private sealed class Use
    {
        public int Count { get; set; }

        public SemaphoreSlim Gate { get; } = new(1);
    }
}
