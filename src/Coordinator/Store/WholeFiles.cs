using System.Collections.Concurrent;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Store;

internal enum FileHealth { Missing, Whole, Damaged }

/// <summary>
/// Content-addressed files of one kind, of which none is believed because it is there. One is whole while it is as it was
/// when this process last computed its hash; any other is hashed before it is used (about 1 s a GB), and so is one of which
/// a consumer says that it got something else. One that is not what its name says is removed, so that a good upload heals it.
/// </summary>
/// <param name="what">The kind, for the log: "Blob".</param>
/// <param name="hash">Computes the id of a file's content; FormatException: it has none.</param>
/// <param name="logger">Hears of damage.</param>
internal sealed class WholeFiles(string what, Func<string, CancellationToken, Task<ContentHash>> hash, ILogger logger)
{
    private readonly StoreLog _log = new(logger);
    private readonly CheckedFiles _checked = new();
    private readonly ConcurrentDictionary<ContentHash, string> _damaged = new();
    private readonly SemaphoreSlim _unknown = new(1); // more at once would not be read faster
    private readonly SemaphoreSlim _doubted = new(1); // a consumer that doubts without end delays others that doubt
    private readonly Lock _changes = new();

    /// <summary>Whether it is whole as far as is known; asks no disk for its content.</summary>
    public bool IsKnownWhole(string path) => _checked.Has(path);

    /// <summary>Looks, and hashes where there is doubt.</summary>
    /// <param name="id">The hash that the file is named by.</param>
    /// <param name="path">The file.</param>
    /// <param name="isDoubted">A consumer got other content.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public async Task<FileHealth> CheckAsync(ContentHash id, string path, bool isDoubted, CancellationToken cancellation)
    {
        if (!isDoubted && _checked.Has(path))
            return FileHealth.Whole;
        if (!File.Exists(path))
            return MissingOrDamaged(id);
        var gate = isDoubted ? _doubted : _unknown;
        await gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (!isDoubted && _checked.Has(path))
                return FileHealth.Whole;
            var stamp = FileStamp.Of(path);
            var found = await HashAsync(path, cancellation).ConfigureAwait(false);
            lock (_changes)
            {
                if (stamp is null || FileStamp.Of(path) != stamp)
                    return _checked.Has(path) ? FileHealth.Whole : MissingOrDamaged(id); // replaced or removed meanwhile
                if (found == id.Text)
                    _checked.Add(path, stamp);
                else
                    Drop(id, path, found);
            }

            return found == id.Text ? FileHealth.Whole : FileHealth.Damaged;
        }
        catch (Exception e) when (StoreException.Covers(e))
        {
            // It is left where it is: the cause may pass.
            if (!File.Exists(path))
                return MissingOrDamaged(id);
            _log.Unreadable(what, id, path, e.Message);
            return FileHealth.Damaged;
        }
        finally
        {
            gate.Release();
        }
    }

    /// <summary>Moves a file to its name that was hashed on its way in, over one that is there.</summary>
    /// <param name="id">Its hash.</param>
    /// <param name="source">Where it is: flushed, if it is to be durable.</param>
    /// <param name="path">Its name.</param>
    /// <param name="isDurable">Whether the name is to survive a power cut.</param>
    public void Put(ContentHash id, string source, string path, bool isDurable)
    {
        lock (_changes)
        {
            File.Move(source, path, overwrite: true);
            _checked.Add(path);
            _damaged.TryRemove(id, out _);
        }

        if (isDurable)
            DirectorySync.Flush(Path.GetDirectoryName(path)!);
    }

    public void Delete(string path)
    {
        lock (_changes)
        {
            _checked.Forget(path);
            File.Delete(path);
        }
    }

    private FileHealth MissingOrDamaged(ContentHash id) => _damaged.ContainsKey(id) ? FileHealth.Damaged : FileHealth.Missing;

    private void Drop(ContentHash id, string path, string found)
    {
        _damaged[id] = found;
        _log.Damaged(what, id, found, path);
        _checked.Forget(path);
        File.Delete(path);
    }

    // In words, as it may have none.
    private async Task<string> HashAsync(string path, CancellationToken cancellation)
    {
        try
        {
            return (await hash(path, cancellation).ConfigureAwait(false)).Text;
        }
        catch (FormatException e) when (e.InnerException is IOException and not EndOfStreamException)
        {
            throw e.InnerException;
        }
        catch (FormatException e)
        {
            return $"none ({e.Message.TrimEnd('.')})";
        }
    }
}

internal sealed partial class StoreLog(ILogger logger)
{
    [LoggerMessage(161, LogLevel.Error, "{What} {Id} is damaged: its content has the hash {Found}. Removed \"{Path}\", so that a good copy can take its place. Check that disk")]
    public partial void Damaged(string what, ContentHash id, string found, string path);

    [LoggerMessage(162, LogLevel.Error, "{What} {Id} cannot be read from \"{Path}\": {Reason} Check that disk; a good copy that is sent takes its place")]
    public partial void Unreadable(string what, ContentHash id, string path, string reason);
}
