using System.Globalization;

namespace MLDistributed.Protocol;

/// <summary>What to say, and to look at, when a disk is full.</summary>
public static class DiskSpace
{
    private static readonly int[] s_fullCodes = OperatingSystem.IsWindows()
        ? [unchecked((int)0x80070070), unchecked((int)0x80070027)]   // ERROR_DISK_FULL, ERROR_HANDLE_DISK_FULL
        : [28, 27, OperatingSystem.IsLinux() ? 122 : 69];            // ENOSPC, EFBIG, EDQUOT

    /// <summary>Whether an operation failed because there was no room.</summary>
    public static bool IsFull(Exception error) => error is IOException && s_fullCodes.Contains(error.HResult);

    /// <summary>The error of a write that would find no room.</summary>
    public static IOException Full(string message) => new(message, s_fullCodes[0]);

    /// <summary>Bytes that this user may still write there; null when the system does not say.</summary>
    public static long? FreeBytes(string folder)
    {
        try
        {
            return new DriveInfo(Path.GetFullPath(folder)).AvailableFreeSpace;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }

    /// <summary>The size of the file system; null when the system does not say.</summary>
    public static long? SizeBytes(string folder)
    {
        try
        {
            return new DriveInfo(Path.GetFullPath(folder)).TotalSize;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }

    /// <summary>A sentence that names what, where, why and how much is free.</summary>
    /// <param name="what">The subject, as in "Dataset "ab12"".</param>
    /// <param name="folder">Where it was to be written.</param>
    /// <param name="error">What the system said.</param>
    public static string Explain(string what, string folder, Exception error) => IsFull(error)
        ? $"{what} cannot be written to \"{folder}\" (the disk is full, {Words(FreeBytes(folder))} free), expected room for it. Make room there, or use a folder on a larger disk."
        : $"{what} cannot be written to \"{folder}\" ({error.Message.TrimEnd('.')}), expected a folder that this user may write.";

    /// <summary>As in "12.5 MB".</summary>
    public static string Words(long? bytes) => bytes is { } known ? string.Create(CultureInfo.InvariantCulture, $"{known / 1e6:0.0} MB") : "unknown";
}
