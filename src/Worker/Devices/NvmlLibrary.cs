using System.Reflection;
using System.Runtime.InteropServices;

namespace MLDistributed.Worker.Devices;

/// <summary>libnvidia-ml.so.1, which comes with the driver (nvml.dll on Windows).</summary>
internal sealed partial class NvmlLibrary : INvml
{
    private const string Name = "nvidia-ml";

    static NvmlLibrary() => NativeLibrary.SetDllImportResolver(typeof(NvmlLibrary).Assembly, Resolve);

    public int Init() => nvmlInit_v2();

    public int GetCount(out uint count) => nvmlDeviceGetCount_v2(out count);

    public int GetHandle(uint index, out IntPtr device) => nvmlDeviceGetHandleByIndex_v2(index, out device);

    public int GetName(IntPtr device, Span<byte> name) => nvmlDeviceGetName(device, name, (uint)name.Length);

    public int GetMemory(IntPtr device, out NvmlMemory memory) => nvmlDeviceGetMemoryInfo(device, out memory);

    public int GetUtilization(IntPtr device, out NvmlUtilization utilization) => nvmlDeviceGetUtilizationRates(device, out utilization);

    private static IntPtr Resolve(string library, Assembly assembly, DllImportSearchPath? paths) =>
        library == Name && NativeLibrary.TryLoad(OperatingSystem.IsWindows() ? "nvml.dll" : "libnvidia-ml.so.1", out var handle) ? handle : IntPtr.Zero;

    [LibraryImport(Name)]
    private static partial int nvmlInit_v2();

    [LibraryImport(Name)]
    private static partial int nvmlDeviceGetCount_v2(out uint count);

    [LibraryImport(Name)]
    private static partial int nvmlDeviceGetHandleByIndex_v2(uint index, out IntPtr device);

    [LibraryImport(Name)]
    private static partial int nvmlDeviceGetName(IntPtr device, Span<byte> name, uint length);

    [LibraryImport(Name)]
    private static partial int nvmlDeviceGetMemoryInfo(IntPtr device, out NvmlMemory memory);

    [LibraryImport(Name)]
    private static partial int nvmlDeviceGetUtilizationRates(IntPtr device, out NvmlUtilization utilization);
}
