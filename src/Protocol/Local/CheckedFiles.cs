using System.Collections.Concurrent;

namespace MLDistributed.Protocol;

/// <summary>
/// The files that this process found whole, with the size and the time of writing that they had then. One that has others
/// now, or that is not among them, is in doubt: it is to be hashed before it is used.
/// </summary>
public sealed class CheckedFiles
{
    private readonly ConcurrentDictionary<string, FileStamp> _stamps = new(StringComparer.Ordinal);

    /// <summary>Whether the file is as it was when it was found whole. Costs a look at its folder's entry.</summary>
    /// <param name="path">The file.</param>
    public bool Has(string path) => _stamps.TryGetValue(path, out var known) && FileStamp.Of(path) == known;

    /// <summary>Counts a file as whole.</summary>
    /// <param name="path">The file.</param>
    /// <param name="stamp">What it had before it was hashed; null: what it has now, as of one that was hashed while it was written.</param>
    public void Add(string path, FileStamp? stamp = null)
    {
        if ((stamp ?? FileStamp.Of(path)) is { } found)
            _stamps[path] = found;
    }

    /// <summary>Forgets a file that is removed.</summary>
    /// <param name="path">The file.</param>
    public void Forget(string path) => _stamps.TryRemove(path, out _);
}

/// <summary>What a change of a file's content changes of its entry, unless the disk itself made it.</summary>
/// <param name="Bytes">Its size.</param>
/// <param name="Written">When it was last written.</param>
public readonly record struct FileStamp(long Bytes, DateTime Written)
{
    /// <summary>The stamp of a file; null when there is none.</summary>
    /// <param name="path">The file.</param>
    public static FileStamp? Of(string path) => new FileInfo(path) is { Exists: true } file ? new FileStamp(file.Length, file.LastWriteTimeUtc) : null;
}
