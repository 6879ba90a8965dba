using System.Collections.Concurrent;
using Apache.Arrow.Ipc;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Transfers;

/// <summary>Datasets as files on this machine: in the coordinator's store where this machine sees it, else downloaded once and kept.</summary>
internal sealed class DatasetCache(string folder, long maxBytes, BlobTransfer blobs, TimeProvider time)
{
    private const int IdLength = 64;
    private readonly ConcurrentDictionary<string, Use> _uses = new(StringComparer.Ordinal);

    /// <summary>The dataset's file, which stays until <see cref="Release"/>.</summary>
    /// <param name="sharedStore">The coordinator's store; empty when this machine cannot see it.</param>
    /// <exception cref="TransferException">The coordinator does not have it, or what it sends is something else.</exception>
    public async Task<string> AcquireAsync(string id, string sharedStore, CancellationToken cancellation)
    {
        if (id.Length != IdLength || !id.All(char.IsAsciiHexDigitLower))
            throw new TransferException($"Dataset id is \"{id}\", expected {IdLength} lower-case hexadecimal digits.");
        var shared = Path.Combine(sharedStore, "datasets", $"{id}.arrow");
        if (sharedStore.Length > 0 && File.Exists(shared))
            return shared;

        var use = _uses.GetOrAdd(id, _ => new Use());
        Interlocked.Increment(ref use.Count);
        var path = Path.Combine(folder, $"{id}.arrow");
        await use.Gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (!File.Exists(path))
                await DownloadAsync(id, path, cancellation).ConfigureAwait(false);
            File.SetLastWriteTimeUtc(path, time.GetUtcNow().UtcDateTime);
        }
        finally
        {
            use.Gate.Release();
        }

        Trim();
        return path;
    }

    /// <summary>Once for each <see cref="AcquireAsync"/>, whether it succeeded or not.</summary>
    public void Release(string id)
    {
        if (_uses.TryGetValue(id, out var use))
            Interlocked.Decrement(ref use.Count);
    }

    private async Task DownloadAsync(string id, string path, CancellationToken cancellation)
    {
        var partial = path + ".partial";
        // A file that grew over several starts of the agent may hold what a former one wrote wrongly: once more from the start.
        for (var resumed = File.Exists(partial); ; resumed = false)
        {
            await blobs.DownloadAsync(id, BlobKind.Dataset, partial, cancellation).ConfigureAwait(false);
            var found = await HashAsync(partial, cancellation).ConfigureAwait(false);
            if (found == id)
            {
                File.Move(partial, path, overwrite: true);
                return;
            }

            File.Delete(partial);
            if (!resumed)
                throw new TransferException($"Dataset \"{id}\" came with the content of \"{found}\", expected that of its id. Upload it again.");
        }
    }

    private static async Task<string> HashAsync(string path, CancellationToken cancellation)
    {
        try
        {
            using var reader = new ArrowFileReader(File.OpenRead(path), leaveOpen: false);
            var first = await reader.ReadNextRecordBatchAsync(cancellation).ConfigureAwait(false);
            using var hasher = new DatasetHasher(DatasetSchema.Read(reader.Schema));
            for (var batch = first; batch is not null; batch = await reader.ReadNextRecordBatchAsync(cancellation).ConfigureAwait(false))
            {
                using (batch)
                    hasher.Append(batch);
            }

            return hasher.Complete();
        }
        catch (Exception e) when (e is not (OperationCanceledException or UnauthorizedAccessException))
        {
            // Whatever the Arrow reader says of bytes that are no Arrow file: they are not this dataset.
            return $"no dataset ({e.Message})";
        }
    }

    private void Trim()
    {
        var files = new DirectoryInfo(folder).GetFiles("*.arrow").OrderByDescending(f => f.LastWriteTimeUtc).ToList();
        var kept = 0L;
        foreach (var file in files)
        {
            kept += file.Length;
            var inUse = _uses.TryGetValue(Path.GetFileNameWithoutExtension(file.Name), out var use) && Volatile.Read(ref use.Count) > 0;
            if (kept > maxBytes && !inUse)
            {
                kept -= file.Length;
                file.Delete();
            }
        }
    }

    private sealed class Use
    {
        public int Count;

        public SemaphoreSlim Gate { get; } = new(1);
    }
}
