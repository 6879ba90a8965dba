using MLDistributed.Protocol;

namespace MLDistributed.Worker.Devices;

/// <summary>The part of NVIDIA's management library that is used. Every call gives its result code.</summary>
internal interface INvml
{
    int Init();

    int GetCount(out uint count);

    int GetHandle(uint index, out IntPtr device);

    int GetName(IntPtr device, Span<byte> name);

    int GetMemory(IntPtr device, out NvmlMemory memory);

    int GetUtilization(IntPtr device, out NvmlUtilization utilization);
}

/// <summary>nvmlMemory_t, in bytes.</summary>
internal record struct NvmlMemory(ulong Total, ulong Free, ulong Used);

/// <summary>nvmlUtilization_t, in percent of the last sample period.</summary>
internal record struct NvmlUtilization(uint Gpu, uint Memory);

/// <summary>Lists CUDA devices without CUDA: no context is made, no device memory used, and no driver is needed to find none.</summary>
/// <remarks>https://docs.nvidia.com/deploy/nvml-api/. Its order is that of the PCI bus, CUDA's is "fastest first" unless CUDA_DEVICE_ORDER=PCI_BUS_ID: the agent sets that for its ranks.</remarks>
internal sealed class NvmlDevices(INvml nvml)
{
    private const int NameLength = 96;
    private const int NotSupported = 3;
    private bool _initialised;

    /// <summary>The devices as they are now; none when the library is absent or refuses.</summary>
    public IReadOnlyList<Device> List()
    {
        try
        {
            if (!_initialised)
                Check(nvml.Init());
            _initialised = true;
            Check(nvml.GetCount(out var count));
            return [.. Enumerable.Range(0, (int)count).Select(Read)];
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException or BadImageFormatException or NvmlException)
        {
            return [];
        }
    }

    private Device Read(int index)
    {
        Check(nvml.GetHandle((uint)index, out var handle));
        Span<byte> name = stackalloc byte[NameLength];
        Check(nvml.GetName(handle, name));
        // Virtual and some integrated devices have no figures for these: unknown is not a reason to lose the device.
        NvmlMemory memory = default;
        NvmlUtilization utilization = default;
        CheckIfSupported(nvml.GetMemory(handle, out memory));
        CheckIfSupported(nvml.GetUtilization(handle, out utilization));
        var end = name.IndexOf((byte)0);
        return new Device
        {
            Slot = index,
            Index = index,
            Kind = DeviceKind.Cuda,
            Name = System.Text.Encoding.UTF8.GetString(end < 0 ? name : name[..end]),
            MemoryBytes = (long)memory.Total,
            MemoryUsedBytes = (long)memory.Used,
            Utilization = utilization.Gpu / 100.0,
        };
    }

    private static void Check(int result)
    {
        if (result != 0)
            throw new NvmlException(result);
    }

    private static void CheckIfSupported(int result) => Check(result == NotSupported ? 0 : result);

    private sealed class NvmlException(int result) : Exception($"NVML returned {result}, expected 0.");
}
