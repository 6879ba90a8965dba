using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Training.Native;

/// <summary>
/// Has Linux keep a library in memory in pages of 2 MiB, which whoever loads it then maps. Processes that share a core
/// find their address translations gone whenever the core changes hands: a step of libtorch walks through a thousand
/// small pages of code. Needs a file system with large folios (ext4 from Linux 6.16, xfs); else nothing changes.
/// </summary>
internal static partial class HugeCode
{
    private const long HugePage = 2 << 20;
    private const int CloseOnExec = 0x80000;
    private const int LockExclusive = 2;
    private const int ForgetPages = 4; // POSIX_FADV_DONTNEED
    private const int Readable = 1;
    private const int Private = 2;
    private const int WantHugePages = 14;
    private const int ReadPages = 22;

    /// <summary>Reads the file into huge pages, unless it is there or in use; a second or more of reading, once in a while.</summary>
    /// <returns>Whether it is there now.</returns>
    public static bool Prepare(string path)
    {
        if (!OperatingSystem.IsLinux())
            return false;
        try
        {
            // One at a time, as ranks start together; closing the folder unlocks it. The file's own lock is .NET's, for whoever reads it.
            using var folder = new SafeFileHandle(Open(Path.GetDirectoryName(path)!, CloseOnExec), ownsHandle: true);
            if (folder.IsInvalid || Lock(folder, LockExclusive) != 0)
                return false;
            using var file = File.OpenHandle(path);
            var length = RandomAccess.GetLength(file);
            // The first page tells of all, and whether the file system can at all.
            return length >= HugePage && (IsHuge(file, HugePage) || (IsHugeAfresh(file, HugePage) && IsHugeAfresh(file, length)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static bool IsHugeAfresh(SafeFileHandle file, long length) => Advise(file, 0, length, ForgetPages) == 0 && IsHuge(file, length);

    // Maps a file's beginning, reads what is not in memory, and looks how it is mapped.
    private static bool IsHuge(SafeFileHandle file, long length)
    {
        var address = Map(0, (nuint)length, Readable, Private, file, 0);
        if (address == -1)
            return false;
        try
        {
            return Advise(address, (nuint)length, WantHugePages) == 0 && Advise(address, (nuint)length, ReadPages) == 0 && HugeBytes(address) * 2 >= length;
        }
        finally
        {
            _ = Unmap(address, (nuint)length);
        }
    }

    private static long HugeBytes(nint address)
    {
        var start = string.Create(CultureInfo.InvariantCulture, $"{address:x}-");
        return File.ReadLines("/proc/self/smaps").SkipWhile(line => !line.StartsWith(start, StringComparison.Ordinal))
            .Where(line => line.StartsWith("FilePmdMapped:", StringComparison.Ordinal))
            .Select(line => 1024 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture)).FirstOrDefault();
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "flock")]
    private static partial int Lock(SafeFileHandle file, int operation);

    [LibraryImport("libc", EntryPoint = "posix_fadvise")]
    private static partial int Advise(SafeFileHandle file, long offset, long length, int advice);

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Map(nint address, nuint length, int protection, int flags, SafeFileHandle file, long offset);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(nint address, nuint length);
}
