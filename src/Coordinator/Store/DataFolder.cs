using Microsoft.Win32.SafeHandles;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Store;

/// <summary>A coordinator's folder: the database, the blobs and the datasets; held by one coordinator at a time.</summary>
internal sealed class DataFolder : IDisposable
{
    private readonly FileStream _lock;
    private readonly SafeFileHandle? _folderLock;

    private DataFolder(string path)
    {
        Path = path;
        _lock = Lock(path);
        _folderLock = DirectoryLock.TryHold(path);
        foreach (var folder in new[] { Blobs, Datasets, Incoming })
            Directory.CreateDirectory(folder);
    }

    public string Path { get; }
    public string Blobs => System.IO.Path.Combine(Path, "blobs");
    public string Datasets => System.IO.Path.Combine(Path, "datasets");
    public string Incoming => System.IO.Path.Combine(Path, "incoming");

    /// <summary>The file that a running coordinator holds, in a data folder.</summary>
    public static string LockIn(string path) => System.IO.Path.Combine(path, "coordinator.lock");

    /// <summary>The folder's mode when others than its owner could enter it, before that was taken from them; null: they could not.</summary>
    public UnixFileMode? WasOpenTo { get; private init; }

    /// <summary>A file that an earlier coordinator's database knew of; null when there is none.</summary>
    public string? FirstTrace() =>
        Directory.EnumerateFiles(Path, CommitMark.FileName)
            .Concat(Directory.EnumerateFiles(Blobs).Where(f => ContentHash.TryParse(System.IO.Path.GetFileName(f), out _)))
            .Concat(Directory.EnumerateFiles(Datasets, "*.arrow"))
            .Select(f => System.IO.Path.GetRelativePath(Path, f)).FirstOrDefault();

    /// <exception cref="IOException">Another coordinator holds the folder, or it cannot be made.</exception>
    public static DataFolder Open(string path)
    {
        path = System.IO.Path.GetFullPath(path);
        UnixFileMode? opened;
        try
        {
            Create(path);
            opened = Tighten(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"Data folder \"{path}\" cannot be made ({e.Message.TrimEnd('.')}), expected a folder that this user can write. Choose another with --data.", e);
        }

        return new DataFolder(path) { WasOpenTo = opened };
    }

    /// <summary>Makes the folder, for its owner alone.</summary>
    public static void Create(string path)
    {
        if (OperatingSystem.IsWindows())
            Directory.CreateDirectory(path);
        else
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    // It holds datasets, models and the hashes of keys. One that cannot be tightened belongs to somebody else.
    private static UnixFileMode? Tighten(string path)
    {
        if (OperatingSystem.IsWindows())
            return null;
        const UnixFileMode owner = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        var mode = File.GetUnixFileMode(path);
        if ((mode & ~owner & (UnixFileMode)0x1ff) == 0)
            return null;
        File.SetUnixFileMode(path, owner);
        return mode;
    }

    public void Dispose()
    {
        _folderLock?.Dispose();
        _lock.Dispose();
    }

    private static FileStream Lock(string path)
    {
        try
        {
            return new FileStream(LockIn(path), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException($"Data folder \"{path}\" cannot be written ({e.Message.TrimEnd('.')}), expected the coordinator's own. Run it as the folder's owner, or choose another folder.", e);
        }
        catch (IOException e) when (DiskSpace.IsFull(e))
        {
            throw DiskSpace.Full(DiskSpace.Explain("The coordinator's lock", path, e));
        }
        catch (IOException e)
        {
            throw new IOException($"Data folder \"{path}\" is in use by another coordinator. Stop that one, or choose another folder.", e);
        }
    }
}
