using System.Globalization;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Devices;

/// <summary>The processor as training slots. Name, memory and load come from Linux's /proc, the memory of a container from its limit; elsewhere they are unknown.</summary>
/// <param name="slots">Slots to offer; they share the cores evenly.</param>
/// <param name="proc">Where to read.</param>
/// <param name="groups">Where to read the limits of control groups.</param>
internal sealed class CpuDevices(int slots, string proc = "/proc", string groups = "/sys/fs/cgroup")
{
    private readonly string _name = ReadValue(proc, "cpuinfo", "model name") ?? "CPU";

    public IReadOnlyList<Device> List()
    {
        var total = ReadKilobytes("MemTotal");
        var used = Math.Max(0, total - ReadKilobytes("MemAvailable"));
        if (ContainerMemory.Read(proc, groups) is { } container && (total == 0 || container.Limit < total))
            (total, used) = container;
        var load = ReadLoad();
        return [.. Enumerable.Range(0, slots).Select(slot => new Device
        {
            Slot = slot,
            Index = slot,
            Kind = DeviceKind.Cpu,
            Name = _name,
            MemoryBytes = total,
            MemoryUsedBytes = used,
            Utilization = load,
        })];
    }

    private long ReadKilobytes(string key) =>
        ReadValue(proc, "meminfo", key) is { } value && long.TryParse(value.Split(' ')[0], NumberStyles.None, CultureInfo.InvariantCulture, out var kilobytes) ? kilobytes << 10 : 0;

    // Processes that run or want to, a core, over the last minute.
    private double ReadLoad()
    {
        var path = Path.Combine(proc, "loadavg");
        return File.Exists(path) && double.TryParse(File.ReadAllText(path).Split(' ')[0], NumberStyles.Float, CultureInfo.InvariantCulture, out var load)
            ? Math.Min(1, load / Environment.ProcessorCount)
            : 0;
    }

    private static string? ReadValue(string proc, string file, string key)
    {
        var path = Path.Combine(proc, file);
        if (!File.Exists(path))
            return null;
        var line = File.ReadLines(path).FirstOrDefault(l => l.StartsWith(key, StringComparison.Ordinal));
        return line?[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
    }
}
