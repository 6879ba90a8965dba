using System.Diagnostics;

namespace Cluster.Tests;

/// <summary>Linux processes, told by a word in their command line or environment.</summary>
internal static class ProcessTree
{
    /// <summary>Processes whose command line names this folder.</summary>
    public static List<(int Id, string CommandLine)> Naming(string word)
    {
        var found = new List<(int, string)>();
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), out var id) || id == Environment.ProcessId)
                continue;
            try
            {
                var commandLine = File.ReadAllText(Path.Combine(folder, "cmdline")).Replace('\0', ' ');
                if (commandLine.Contains(word, StringComparison.Ordinal))
                    found.Add((id, commandLine));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // It has just ended.
            }
        }

        return found;
    }

    /// <summary>Waits until the condition holds, looking ten times a second: the kernel has no event for another's children.</summary>
    public static async Task<bool> Until(Func<bool> condition, TimeSpan limit)
    {
        var started = Stopwatch.GetTimestamp();
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(100));
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(started) > limit)
                return false;
            await timer.WaitForNextTickAsync();
        }

        return true;
    }
}
