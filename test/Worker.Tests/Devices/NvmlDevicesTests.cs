using System.Text;
using MLDistributed.Protocol;
using MLDistributed.Worker.Devices;

namespace Worker.Tests.Devices;

[TestClass]
public sealed class NvmlDevicesTests
{
    [TestMethod]
    public void List_TwoDevices_GivesNameMemoryAndLoad()
    {
        var devices = new NvmlDevices(new FakeNvml()).List();

        Assert.HasCount(2, devices);
        Assert.AreEqual("Fake GPU 1", devices[1].Name);
        Assert.AreEqual(DeviceKind.Cuda, devices[1].Kind);
        Assert.AreEqual((1, 1), (devices[1].Slot, devices[1].Index));
        Assert.AreEqual((80L << 30, 3L << 30), (devices[1].MemoryBytes, devices[1].MemoryUsedBytes));
        Assert.AreEqual(0.4, devices[1].Utilization);
    }

    [TestMethod]
    public void List_UtilizationNotSupported_KeepsTheDevice()
    {
        var device = new NvmlDevices(new FakeNvml { UtilizationResult = 3 }).List()[0];
        Assert.AreEqual(0, device.Utilization);
        Assert.AreEqual(80L << 30, device.MemoryBytes);
    }

    [TestMethod]
    [DataRow(9)]     // driver not loaded
    [DataRow(999)]
    public void List_InitFails_GivesNone(int result) => Assert.IsEmpty(new NvmlDevices(new FakeNvml { InitResult = result }).List());

    [TestMethod]
    public void List_LibraryAbsent_GivesNone() => Assert.IsEmpty(new NvmlDevices(new FakeNvml { IsAbsent = true }).List());

    [TestMethod]
    public void List_OnThisMachine_DoesNotThrow()
    {
        foreach (var device in new NvmlDevices(new NvmlLibrary()).List())
            Assert.IsGreaterThan(0L, device.MemoryBytes);
    }

    [TestMethod]
    [DataRow(null, "0 1")]
    [DataRow("1", "1")]
    [DataRow("1,0", "1 0")]
    [DataRow("1,7,0", "1")]
    [DataRow("", "")]
    [DataRow("-1", "")]
    [DataRow("GPU-8932f937-d72c", "0 1")]
    public void VisibleDevices_Variable_IsAppliedAsCudaDoes(string? variable, string expected)
    {
        var visible = VisibleDevices.Apply(new NvmlDevices(new FakeNvml()).List(), variable);
        Assert.AreEqual(expected, string.Join(' ', visible.Select(d => d.Name[^1])));
        CollectionAssert.AreEqual(Enumerable.Range(0, visible.Count).ToList(), visible.Select(d => d.Index).ToList());
    }

    private sealed class FakeNvml : INvml
    {
        public int InitResult { get; init; }

        public int UtilizationResult { get; init; }

        public bool IsAbsent { get; init; }

        public int Init() => IsAbsent ? throw new DllNotFoundException() : InitResult;

        public int GetCount(out uint count)
        {
            count = 2;
            return 0;
        }

        public int GetHandle(uint index, out IntPtr device)
        {
            device = (IntPtr)index + 100;
            return 0;
        }

        public int GetName(IntPtr device, Span<byte> name)
        {
            Encoding.UTF8.GetBytes($"Fake GPU {device - 100}\0", name);
            return 0;
        }

        public int GetMemory(IntPtr device, out NvmlMemory memory)
        {
            memory = new NvmlMemory(80UL << 30, 77UL << 30, 3UL << 30);
            return 0;
        }

        public int GetUtilization(IntPtr device, out NvmlUtilization utilization)
        {
            utilization = new NvmlUtilization(UtilizationResult == 0 ? 40u : 0, 0);
            return UtilizationResult;
        }
    }
}
