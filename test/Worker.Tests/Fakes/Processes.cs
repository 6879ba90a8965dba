using System.Diagnostics;

namespace Worker.Tests.Fakes;

/// <summary>Looks at the machine's processes (Linux).</summary>
internal static class Processes
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    /// <summary>Those with a word in their arguments.</summary>
    public static IReadOnlyList<int> With(string argument) => [.. Process.GetProcesses().Select(p => p.Id).Where(id => Arguments(id).Contains(argument))];

    public static void Kill(int id)
    {
        using var process = Process.GetProcessById(id);
        process.Kill();
    }

    /// <summary>Stops a process (SIGSTOP): it lives, and does nothing.</summary>
    public static async Task StopAsync(int id)
    {
        using var kill = Process.Start("/bin/kill", ["-STOP", id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        await kill.WaitForExitAsync();
    }

    /// <summary>Waits until something holds; fails after a while.</summary>
    public static async Task UntilAsync(Func<bool> holds, TimeSpan patience, string what)
    {
        using var timer = new PeriodicTimer(Interval);
        var start = TimeProvider.System.GetTimestamp();
        while (!holds())
        {
            Assert.IsLessThan(patience, TimeProvider.System.GetElapsedTime(start), what);
            await timer.WaitForNextTickAsync();
        }
    }

    private static string[] Arguments(int id)
    {
        try
        {
            return File.ReadAllText($"/proc/{id}/cmdline").Split('\0');
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
