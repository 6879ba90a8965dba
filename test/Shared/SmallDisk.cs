using System.Diagnostics;
using System.Globalization;

namespace MLDistributed.Tests.Shared;

/// <summary>A disk of a few megabytes that a test fills: a tmpfs of its own, which only root of a Linux machine can mount.</summary>
internal sealed class SmallDisk : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("disk-").FullName;

    private SmallDisk()
    {
    }

    public string Folder => _folder;

    public static async Task<SmallDisk> MountAsync(int megabytes)
    {
        if (!OperatingSystem.IsLinux() || !Environment.IsPrivilegedProcess)
            Assert.Inconclusive("Fills a disk of its own, which needs root on Linux to mount.");
        var disk = new SmallDisk();
        if (await RunAsync("mount", "-t", "tmpfs", "-o", string.Create(CultureInfo.InvariantCulture, $"size={megabytes}m,mode=700"), "none", disk._folder) == 0)
            return disk;
        Directory.Delete(disk._folder);
        Assert.Inconclusive("Fills a disk of its own, which this machine's root may not mount.");
        return disk;
    }

    /// <summary>Writes until nothing goes in any more.</summary>
    public void Fill()
    {
        using var file = new FileStream(Path.Combine(_folder, "filler"), FileMode.Append, FileAccess.Write, FileShare.None, 0);
        for (var block = 1 << 20; block > 0; block /= 2)
            try
            {
                while (true)
                    file.Write(new byte[block]);
            }
            catch (IOException)
            {
                // Smaller ones may still fit.
            }
    }

    public void MakeRoom() => File.Delete(Path.Combine(_folder, "filler"));

    public void Dispose()
    {
        RunAsync("umount", "-l", _folder).GetAwaiter().GetResult();
        Directory.Delete(_folder);
    }

    private static async Task<int> RunAsync(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        await process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return process.ExitCode;
    }
}
