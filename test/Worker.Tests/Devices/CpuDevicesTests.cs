using MLDistributed.Protocol;
using MLDistributed.Worker.Devices;

namespace Worker.Tests.Devices;

[TestClass]
public sealed class CpuDevicesTests
{
    [TestMethod]
    public void List_FromProc_GivesNameAndMemory()
    {
        using var proc = RunDirectory.Create();
        File.WriteAllText(Path.Combine(proc.Path, "cpuinfo"), "processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\nprocessor\t: 1\nmodel name\t: Other\n");
        File.WriteAllText(Path.Combine(proc.Path, "meminfo"), "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n");
        File.WriteAllText(Path.Combine(proc.Path, "loadavg"), "1000.0 0 0 1/1 1\n");
        var devices = new CpuDevices(3, proc.Path, "/nonexistent").List();

        CollectionAssert.AreEqual(new[] { 0, 1, 2 }, devices.Select(d => d.Slot).ToList());
        Assert.IsTrue(devices.All(d => d is { Kind: DeviceKind.Cpu, Name: "Fast CPU @ 3 GHz", MemoryBytes: 1_024_000, MemoryUsedBytes: 614_400, Utilization: 1 }), devices[0].ToString());
    }

    [TestMethod]
    [DataRow("0::/\n", "memory.max", "400000", 400_000L, 300_000L)]
    [DataRow("0::/pod/app\n", "pod/app/memory.max", "400000", 400_000L, 0L)]
    [DataRow("0::/pod/app\n", "pod/memory.max", "400000", 400_000L, 0L)]
    [DataRow("0::/pod/app\n", "memory.max", "400000", 400_000L, 300_000L)]
    [DataRow("0::/\n", "memory.max", "max", 1_024_000L, 614_400L)]
    [DataRow("0::/\n", "memory.max", "99000000", 1_024_000L, 614_400L)]
    [DataRow("12:cpu,cpuacct:/x\n5:memory:/docker/c\n", "memory/memory.limit_in_bytes", "400000", 400_000L, 0L)]
    [DataRow("5:memory:/docker/c\n", "memory/docker/c/memory.limit_in_bytes", "9223372036854771712", 1_024_000L, 614_400L)]
    public void List_InAContainer_HasTheContainersMemory(string membership, string file, string limit, long memory, long used)
    {
        using var folder = RunDirectory.Create();
        var (proc, groups) = (Path.Combine(folder.Path, "proc"), Path.Combine(folder.Path, "groups"));
        Directory.CreateDirectory(Path.Combine(proc, "self"));
        Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(groups, file))!);
        File.WriteAllText(Path.Combine(proc, "meminfo"), "MemTotal:       1000 kB\nMemAvailable:    400 kB\n");
        File.WriteAllText(Path.Combine(proc, "self", "cgroup"), membership);
        File.WriteAllText(Path.Combine(groups, file), limit + "\n");
        File.WriteAllText(Path.Combine(groups, "memory.current"), "300000\n");

        var device = new CpuDevices(1, proc, groups).List().Single();

        Assert.AreEqual((memory, used), (device.MemoryBytes, device.MemoryUsedBytes));
    }

    [TestMethod]
    public void List_WithoutProc_GivesSlotsAllTheSame()
    {
        var device = new CpuDevices(1, "/nonexistent", "/nonexistent").List().Single();
        Assert.AreEqual(("CPU", 0L), (device.Name, device.MemoryBytes));
    }
}
