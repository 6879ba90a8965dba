using System.Globalization;
using Microsoft.Win32.SafeHandles;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Agents;

/// <summary>An agent's own folder (mode 0700), locked while the agent lives. What an agent before it left is removed on opening.</summary>
internal sealed class WorkFolder : IDisposable
{
    private readonly FileStream _lock;
    private readonly RunDirectory? _sockets;
    private SafeFileHandle? _folderLock;

    private WorkFolder(string path, FileStream heldLock)
    {
        Path = path;
        _lock = heldLock;
        SocketPath = System.IO.Path.Combine(path, "r.sock");
        _folderLock = DirectoryLock.TryHold(path);
        if (!UnixSocketAddress.Fits(SocketPath))
        {
            _sockets = RunDirectory.CreateForSockets();
            SocketPath = System.IO.Path.Combine(_sockets.Path, "r.sock");
        }
    }

    public string Path { get; }

    public string SocketPath { get; }

    public string Datasets => System.IO.Path.Combine(Path, "datasets");

    public string CredentialPath => System.IO.Path.Combine(Path, "credential.json");

    private string Attempts => System.IO.Path.Combine(Path, "attempts");

    /// <exception cref="AgentException">Another agent has the folder, or it cannot be made.</exception>
    public static WorkFolder Open(string path)
    {
        path = System.IO.Path.GetFullPath(path);
        try
        {
            CreatePrivate(path);
            var folder = new WorkFolder(path, new FileStream(System.IO.Path.Combine(path, "agent.lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
            folder.Clear();
            folder.Restore();
            return folder;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AgentException($"Work folder \"{path}\" cannot be used ({e.Message}), expected a folder that this user can write and no other worker uses. Give another with --work.", e);
        }
    }

    /// <summary>Makes what is missing, as when a cleaner of temp folders removed it.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    public void Restore()
    {
        _sockets?.Restore();
        if (!Directory.Exists(Path))
        {
            CreatePrivate(Path);
            _folderLock?.Dispose();
            _folderLock = DirectoryLock.TryHold(Path);
        }

        CreatePrivate(Attempts);
        CreatePrivate(Datasets);
    }

    /// <summary>The files of one attempt: a folder here, and the shared memory of its ranks.</summary>
    /// <param name="attemptId">The attempt.</param>
    /// <param name="participant">This worker's place in it; null: it has no others. Two workers of one attempt may be on one machine, and each has a segment of its own.</param>
    public AttemptFiles CreateAttempt(OpaqueId attemptId, int? participant)
    {
        var name = attemptId.Text + (participant is { } place ? string.Create(CultureInfo.InvariantCulture, $"-{place}") : "");
        var files = new AttemptFiles(name, System.IO.Path.Combine(Attempts, name));
        Restore();
        CreatePrivate(files.Folder);
        return files;
    }

    public void Dispose()
    {
        Clear();
        if (File.Exists(SocketPath))
            File.Delete(SocketPath);
        _sockets?.Dispose();
        _folderLock?.Dispose();
        _lock.Dispose();
    }

    private void Clear()
    {
        if (!Directory.Exists(Attempts))
            return;
        foreach (var folder in Directory.EnumerateDirectories(Attempts))
            new AttemptFiles(System.IO.Path.GetFileName(folder), folder).Delete();
    }

    private static void CreatePrivate(string path)
    {
        if (OperatingSystem.IsWindows())
            Directory.CreateDirectory(path);
        else
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }
}

/// <summary>What an attempt has on this machine's disks and in its shared memory.</summary>
/// <param name="Name">That of its folder, and a part of that of its segment.</param>
/// <param name="Folder">Where.</param>
internal sealed record AttemptFiles(string Name, string Folder)
{
    private const string SharedMemory = "/dev/shm";

    public string OutputFolder => Path.Combine(Folder, "out");

    /// <summary>Whether a path that a rank named is of a file that it may give away: one directly in its output folder.</summary>
    public bool IsOutput(string path) => string.Equals(Path.GetDirectoryName(path), OutputFolder, StringComparison.Ordinal) && Path.GetFileName(path) is { Length: > 0 } and not ("." or "..");

    public string ResumePath => Path.Combine(Folder, "resume");

    public string StartingModelPath => Path.Combine(Folder, "start");

    public string StartingWeightsPath => Path.Combine(Folder, "weights");

    /// <summary>The package of the job's own code.</summary>
    public string CodePath => Path.Combine(Folder, "code");

    /// <summary>Where rank 0 makes the segment.</summary>
    public string SegmentPath => Path.Combine(SegmentFolder, $"mldist-{Name}");

    /// <summary>In memory where the system has a folder for that.</summary>
    public static string SegmentFolder => Directory.Exists(SharedMemory) ? SharedMemory : Path.GetTempPath();

    public void Delete()
    {
        try
        {
            File.Delete(SegmentPath);
            foreach (var part in Directory.EnumerateFiles(SegmentFolder, $"mldist-{Name}.*"))
                File.Delete(part);
            if (Directory.Exists(Folder))
                Directory.Delete(Folder, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A rank that is being killed may still write: the next start on this folder removes the rest.
        }
    }
}
