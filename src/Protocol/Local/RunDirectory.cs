using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

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
    private const string SocketsName = ".sockets"; // names the folder of sockets, where it is another
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private static readonly TimeSpan s_unfinishedFor = TimeSpan.FromHours(1);
    private readonly Lock _gate = new();
    private FileStream? _lock;
    private SafeFileHandle? _folderLock;
    private RunDirectory? _sockets;

    private RunDirectory(string path, FileStream heldLock)
    {
        Path = path;
        _lock = heldLock;
        _folderLock = DirectoryLock.TryHold(path);
    }

    /// <summary>The folder's absolute path.</summary>
    public string Path { get; }

    /// <summary>Makes a new folder in the temp folder, and removes those of this user that nobody holds any more.</summary>
    /// <param name="parent">Where to make it. Null: the temp folder.</param>
    /// <exception cref="IOException">It cannot be made there.</exception>
    public static RunDirectory Create(string? parent = null)
    {
        parent ??= System.IO.Path.GetTempPath();
        try
        {
            parent = System.IO.Path.GetFullPath(parent);
            RemoveAbandoned(parent);
            return CreateIn(parent);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"Temp folder \"{parent}\" cannot be used ({e.Message.TrimEnd('.')}), expected one in which this user can make a folder for data and sockets. Free space in it, or set TMPDIR to another.", e);
        }
    }

    /// <summary>Makes one whose path is short enough for sockets in it: in /tmp, or else in the user's runtime folder.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    public static RunDirectory CreateForSockets()
    {
        if (OperatingSystem.IsWindows())
            return Create();
        try
        {
            return Create("/tmp");
        }
        catch (IOException) when (Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") is { Length: > 0 } runtime && Directory.Exists(runtime))
        {
            return Create(runtime);
        }
    }

    /// <summary>Becomes a holder of an existing folder.</summary>
    /// <exception cref="IOException">The folder is gone or being removed.</exception>
    public static RunDirectory Open(string path)
    {
        var file = System.IO.Path.Combine(path, LockName);
        var held = Lock(file);
        if (File.Exists(file))
        {
            var opened = new RunDirectory(path, held);
            var sockets = System.IO.Path.Combine(path, SocketsName);
            if (File.Exists(sockets))
                opened._sockets = Open(File.ReadAllText(sockets));
            return opened;
        }

        // Opened before, and locked after, the last holder removed it: a lock on nothing.
        held.Dispose();
        throw new DirectoryNotFoundException($"Run directory \"{path}\" was removed by its last holder, expected a running local cluster. Start a new one.");
    }

    /// <summary>A path for a socket: in this folder, or where that would be too long, in a short one that goes with it.</summary>
    /// <param name="name">The socket's name.</param>
    /// <exception cref="IOException">There is no folder for it.</exception>
    public string SocketPath(string name)
    {
        var path = System.IO.Path.Combine(Path, name);
        if (UnixSocketAddress.Fits(path))
            return path;
        lock (_gate)
        {
            if (_sockets is null)
            {
                _sockets = CreateForSockets();
                File.WriteAllText(System.IO.Path.Combine(Path, SocketsName), _sockets.Path);
            }

            return System.IO.Path.Combine(_sockets.Path, name);
        }
    }

    /// <summary>Makes the folder again, when a cleaner of temp folders removed it or its lock. What was in it is gone.</summary>
    /// <exception cref="IOException">It cannot be made, or is another user's by now.</exception>
    public void Restore()
    {
        lock (_gate)
        {
            if (_lock is null)
                return;
            _sockets?.Restore();
            if (File.Exists(System.IO.Path.Combine(Path, LockName)))
                return;
            try
            {
                MakePrivate(Path);
                if (_sockets is not null)
                    File.WriteAllText(System.IO.Path.Combine(Path, SocketsName), _sockets.Path);
                var held = MakeLock(Path);
                _lock.Dispose();
                _lock = held;
                _folderLock?.Dispose();
                _folderLock = DirectoryLock.TryHold(Path);
            }
            catch (UnauthorizedAccessException e)
            {
                throw new IOException($"Run directory \"{Path}\" was removed and cannot be made again ({e.Message.TrimEnd('.')}), expected a temp folder whose content stays. Exempt it from cleaning, or set TMPDIR to another.", e);
            }
        }
    }

    /// <summary>Lets go of the folder; removes it when nobody else holds it.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_lock is null)
                return;
            _lock.Dispose();
            _lock = null;
            _folderLock?.Dispose();
            TryRemove(Path);
            _sockets?.Dispose();
        }
    }

    private static RunDirectory CreateIn(string parent)
    {
        var path = System.IO.Path.Combine(parent, Prefix + RandomNumberGenerator.GetHexString(10, lowercase: true));
        MakePrivate(path);
        return new RunDirectory(path, MakeLock(path));
    }

    private static void MakePrivate(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
            return;
        }

        Directory.CreateDirectory(path, Private);
        File.SetUnixFileMode(path, Private); // refused for a folder that another user has made meanwhile
    }

    // The file gets its name when it is locked already: at no moment is there a lock file that nobody holds.
    private static FileStream MakeLock(string path)
    {
        var unlocked = System.IO.Path.Combine(path, LockName + ".new");
        File.Create(unlocked).Dispose();
        var held = Lock(unlocked);
        File.Move(unlocked, System.IO.Path.Combine(path, LockName), overwrite: true);
        return held;
    }

    private static FileStream Lock(string file) =>
        new(file, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);

    private static void RemoveAbandoned(string parent)
    {
        try
        {
            foreach (var path in Directory.EnumerateDirectories(parent, Prefix + "*"))
            {
                if (File.Exists(System.IO.Path.Combine(path, LockName)))
                    TryRemove(path);
                else if (TimeProvider.System.GetUtcNow() - Directory.GetLastWriteTimeUtc(path) > s_unfinishedFor && !DirectoryLock.IsHeld(path))
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
