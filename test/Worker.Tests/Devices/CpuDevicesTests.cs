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
        var devices = new CpuDevices(3, proc.Path).List();

        CollectionAssert.AreEqual(new[] { 0, 1, 2 }, devices.Select(d => d.Slot).ToList());
        Assert.IsTrue(devices.All(d => d is { Kind: DeviceKind.Cpu, Name: "Fast CPU @ 3 GHz", MemoryBytes: 1_024_000, MemoryUsedBytes: 614_400, Utilization: 1 }), devices[0].ToString());
    }

    [TestMethod]
    public void List_WithoutProc_GivesSlotsAllTheSame()
    {
        var device = new CpuDevices(1, "/nonexistent").List().Single();
        Assert.AreEqual(("CPU", 0L), (device.Name, device.MemoryBytes));
    }
}
