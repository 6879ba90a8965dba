using System.Diagnostics.CodeAnalysis;

namespace MLDistributed.Protocol;

/// <summary>
/// A private folder (mode 0700) that several processes share and the last of them removes, however the others ended.
/// Each holder has a shared lock on a file in it; who gets the exclusive lock is the last.
/// </summary>
public sealed class RunDirectory : IDisposable
{
    private const string Prefix = "mldist-";
    private const string LockName = ".lock";
    private FileStream? _lock;

    private RunDirectory(string path, FileStream heldLock)
    {
        Path = path;
        _lock = heldLock;
    }

    /// <summary>The folder's path, short enough for Unix sockets in it.</summary>
    public string Path { get; }

    /// <summary>Makes a new folder in the temp folder, and removes those of this user that nobody holds any more.</summary>
    public static RunDirectory Create(string? parent = null)
    {
        parent ??= System.IO.Path.GetTempPath();
        RemoveAbandoned(parent);
        var path = System.IO.Path.Combine(parent, Prefix + System.IO.Path.GetRandomFileName().Replace(".", "", StringComparison.Ordinal));
        if (OperatingSystem.IsWindows())
            Directory.CreateDirectory(path);
        else
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        File.Create(System.IO.Path.Combine(path, LockName)).Dispose();
        return Open(path);
    }

    /// <summary>Becomes a holder of an existing folder.</summary>
    /// <exception cref="IOException">The folder is gone or being removed.</exception>
    public static RunDirectory Open(string path) =>
        new(path, new FileStream(System.IO.Path.Combine(path, LockName), FileMode.Open, FileAccess.Read, FileShare.Read));

    /// <summary>Lets go of the folder; removes it when nobody else holds it.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _lock, null) is not { } held)
            return;
        held.Dispose();
        TryRemove(Path);
    }

    private static void RemoveAbandoned(string parent)
    {
        try
        {
            // A folder without its lock file is being made or removed right now: not ours to touch.
            foreach (var path in Directory.EnumerateDirectories(parent, Prefix + "*"))
                if (File.Exists(System.IO.Path.Combine(path, LockName)))
                    TryRemove(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Housekeeping only; the next start tries again.
        }
    }

    [SuppressMessage("Design", "MA0045", Justification = "Runs at process exit, where nothing can be awaited.")]
    private static void TryRemove(string path)
    {
        try
        {
            using (new FileStream(System.IO.Path.Combine(path, LockName), FileMode.Open, FileAccess.ReadWrite, FileShare.None))
                Directory.Delete(path, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Somebody holds it, or another's folder: the holder removes it.
        }
    }
}
