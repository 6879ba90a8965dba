using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;

namespace MLDistributed.Protocol;

/// <summary>
/// A private folder (mode 0700) that several processes share and the last of them removes, however the others ended.
/// Each holder has a shared lock on a file in it; who gets the exclusive lock is the last. The system lets go of the
/// locks of a killed process, and the next <see cref="Create"/> removes a folder whose holders were all killed.
/// </summary>
public sealed class RunDirectory : IDisposable
{
    private const string Prefix = "mldist-";
    private const string LockName = ".lock";

    // A Unix socket's path has at most 103 bytes on macOS and 107 on Linux; this leaves 40 for names in the folder.
    private const int MaxParentLength = 48;
    private static readonly TimeSpan s_unfinishedFor = TimeSpan.FromHours(1);
    private FileStream? _lock;

    private RunDirectory(string path, FileStream heldLock)
    {
        Path = path;
        _lock = heldLock;
    }

    /// <summary>The folder's path, short enough for Unix sockets in it.</summary>
    public string Path { get; }

    /// <summary>Makes a new folder in the temp folder, and removes those of this user that nobody holds any more.</summary>
    /// <param name="parent">Where to make it. Null: the temp folder, or /tmp when that one's path is too long for sockets.</param>
    /// <exception cref="IOException">It cannot be made there.</exception>
    public static RunDirectory Create(string? parent = null)
    {
        parent ??= ShortTempPath();
        RemoveAbandoned(parent);
        try
        {
            return CreateIn(parent);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"Temp folder \"{parent}\" cannot be used ({e.Message.TrimEnd('.')}), expected one in which this user can make a folder for data and sockets. Free space in it, or set TMPDIR to another.", e);
        }
    }

    private static RunDirectory CreateIn(string parent)
    {
        var path = System.IO.Path.Combine(parent, Prefix + RandomNumberGenerator.GetHexString(10, lowercase: true));
        if (OperatingSystem.IsWindows())
            Directory.CreateDirectory(path);
        else
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);

        // The file gets its name when it is locked already: at no moment is there a lock file that nobody holds.
        var unlocked = System.IO.Path.Combine(path, LockName + ".new");
        File.Create(unlocked).Dispose();
        var held = Lock(unlocked);
        File.Move(unlocked, System.IO.Path.Combine(path, LockName));
        return new RunDirectory(path, held);
    }

    /// <summary>Becomes a holder of an existing folder.</summary>
    /// <exception cref="IOException">The folder is gone or being removed.</exception>
    public static RunDirectory Open(string path)
    {
        var file = System.IO.Path.Combine(path, LockName);
        var held = Lock(file);
        if (File.Exists(file))
            return new RunDirectory(path, held);

        // Opened before, and locked after, the last holder removed it: a lock on nothing.
        held.Dispose();
        throw new DirectoryNotFoundException($"Run directory \"{path}\" was removed by its last holder, expected a running local cluster. Start a new one.");
    }

    /// <summary>Lets go of the folder; removes it when nobody else holds it.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _lock, null) is not { } held)
            return;
        held.Dispose();
        TryRemove(Path);
    }

    private static FileStream Lock(string file) =>
        new(file, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);

    private static string ShortTempPath()
    {
        var temp = System.IO.Path.GetTempPath();
        return temp.Length > MaxParentLength && !OperatingSystem.IsWindows() ? "/tmp" : temp;
    }

    private static void RemoveAbandoned(string parent)
    {
        try
        {
            foreach (var path in Directory.EnumerateDirectories(parent, Prefix + "*"))
            {
                if (File.Exists(System.IO.Path.Combine(path, LockName)))
                    TryRemove(path);
                else if (TimeProvider.System.GetUtcNow() - Directory.GetLastWriteTimeUtc(path) > s_unfinishedFor)
                    TryDeleteUnlocked(path); // its maker died before the lock had its name
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Housekeeping only; the next start tries again.
        }
    }

    [SuppressMessage("Design", "MA0045", Justification = "Runs at process exit, where nothing can be awaited.")]
    private static void TryRemove(string path)
    {
        var file = System.IO.Path.Combine(path, LockName);
        try
        {
            using (new FileStream(file, FileMode.Open, FileAccess.ReadWrite, FileShare.None))
            {
                // The lock goes last: what is left by a removal that fails half-way stays removable.
                foreach (var folder in Directory.EnumerateDirectories(path))
                    Directory.Delete(folder, recursive: true);
                foreach (var other in Directory.EnumerateFiles(path).Where(f => f != file))
                    File.Delete(other);
                if (!OperatingSystem.IsWindows())
                    File.Delete(file);
            }

            File.Delete(file); // Windows removes no open file
            Directory.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Somebody holds it, or another's folder: the holder removes it.
        }
    }

    private static void TryDeleteUnlocked(string path)
    {
        try
        {
            Directory.Delete(path, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another user's folder.
        }
    }
}
