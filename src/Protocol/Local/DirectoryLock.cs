using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Protocol;

/// <summary>
/// A lock on a folder itself. systemd-tmpfiles leaves a folder that has one alone, with all in it, however old
/// (tmpfiles.d(5), "age"). Linux only; elsewhere, and where the file system has no locks, there is none.
/// </summary>
public static partial class DirectoryLock
{
    private const int CloseOnExec = 0x80000; // O_CLOEXEC
    private const int Shared = 1;            // LOCK_SH
    private const int Exclusive = 2;         // LOCK_EX
    private const int NonBlocking = 4;       // LOCK_NB

    /// <summary>Takes a share of the lock, until the handle is disposed; null when there is none to have.</summary>
    /// <param name="path">The folder.</param>
    public static SafeFileHandle? TryHold(string path) => TryLock(path, Shared);

    /// <summary>Whether somebody has a share of it.</summary>
    /// <param name="path">The folder.</param>
    public static bool IsHeld(string path)
    {
        if (!OperatingSystem.IsLinux() || !Directory.Exists(path))
            return false;
        using var alone = TryLock(path, Exclusive);
        return alone is null;
    }

    private static SafeFileHandle? TryLock(string path, int kind)
    {
        if (!OperatingSystem.IsLinux())
            return null;
        var folder = new SafeFileHandle(Open(path, CloseOnExec), ownsHandle: true);
        if (!folder.IsInvalid && Flock(folder, kind | NonBlocking) == 0)
            return folder;
        folder.Dispose();
        return null;
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial IntPtr Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "flock")]
    private static partial int Flock(SafeFileHandle file, int operation);
}
