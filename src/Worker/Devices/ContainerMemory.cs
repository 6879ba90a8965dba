using System.Globalization;

namespace MLDistributed.Worker.Devices;

/// <summary>
/// What Linux lets this process's control group take of the machine's memory: a container's limit, or that of a service or a
/// batch job. A process that takes more is killed, whatever the machine has.
/// </summary>
internal static class ContainerMemory
{
    // Version 1 writes the highest multiple of a page for "no limit".
    private const long NoLimit = 1L << 60;

    /// <summary>The limit, and what of it is in use, in bytes; null without one.</summary>
    /// <param name="proc">Where to read which group this process is in.</param>
    /// <param name="groups">Where to read what groups may.</param>
    public static (long Limit, long Used)? Read(string proc, string groups)
    {
        var membership = Path.Combine(proc, "self", "cgroup");
        if (!File.Exists(membership))
            return null;
        (long Limit, long Used)? least = null;
        foreach (var line in File.ReadLines(membership))
        {
            // hierarchy:controllers:path, of version 2 "0::/path"
            if (line.Split(':', 3) is not [_, var controllers, var path])
                continue;
            var found = controllers.Length == 0 ? Least(groups, path, "memory.max", "memory.current")
                : controllers.Split(',').Contains("memory", StringComparer.Ordinal) ? Least(Path.Combine(groups, "memory"), path, "memory.limit_in_bytes", "memory.usage_in_bytes")
                : null;
            if (found is { } limit && (least is null || limit.Limit < least.Value.Limit))
                least = limit;
        }

        return least;
    }

    // Of the group and of all above it. A container may see its own group as the root, whatever its path says.
    private static (long Limit, long Used)? Least(string root, string path, string limitFile, string usedFile)
    {
        (long Limit, long Used)? least = null;
        for (var group = path.Trim('/'); ; group = Path.GetDirectoryName(group) ?? "")
        {
            var folder = Path.Combine(root, group);
            if (ReadNumber(Path.Combine(folder, limitFile)) is < NoLimit and var limit && (least is null || limit < least.Value.Limit))
                least = (limit, Math.Min(limit, ReadNumber(Path.Combine(folder, usedFile)) ?? 0));
            if (group.Length == 0)
                return least;
        }
    }

    private static long? ReadNumber(string file)
    {
        try
        {
            return long.TryParse(File.ReadAllText(file).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
