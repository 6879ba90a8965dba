using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Protocol;

/// <summary>Makes a folder's entries durable: a file that was flushed and renamed is found after a power cut only if its folder was flushed too.</summary>
public static partial class DirectorySync
{
    private const int CloseOnExec = 0x80000; // O_CLOEXEC

    /// <summary>Waits for the disk. Does nothing where a system has no such call, or a file system needs none.</summary>
    /// <param name="path">The folder.</param>
    public static void Flush(string path)
    {
        if (!OperatingSystem.IsLinux())
            return;
        using var folder = new SafeFileHandle(Open(path, CloseOnExec), ownsHandle: true);
        if (!folder.IsInvalid)
            _ = Fsync(folder); // EINVAL: this file system does not
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial IntPtr Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync")]
    private static partial int Fsync(SafeFileHandle file);
}
