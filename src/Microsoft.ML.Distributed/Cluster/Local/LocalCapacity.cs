using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A local cluster never grows: a job that asks for more than it has would wait for ever.</summary>
internal static class LocalCapacity
{
    // No machine that trains has less.
    private const long SmallBytes = 256 << 20;

    /// <summary>Whether a job may ask for too much; most ask for whatever there is.</summary>
    public static bool IsAsked(JobSpec spec) =>
        spec.Resources is { MinRanks: > 1 } or { Device: not DeviceKind.Any } || BatchMemory.LeastBytes(spec, Rows(spec), 1, isOnGpu: false) + BatchMemory.LeastModuleBytes(spec) > SmallBytes;

    /// <summary>What is wrong with what a job asks for, or null.</summary>
    public static string? Refusal(JobSpec spec, IReadOnlyCollection<Device> devices)
    {
        var all = devices.ToList();
        var resources = spec.Resources ?? new ResourceSpec();
        var fitting = all.Where(d => resources.Device == DeviceKind.Any || d.Kind == resources.Device).ToList();
        // A gang is of one kind of device, and of GPUs of one model.
        var usable = fitting.GroupBy(d => (d.Kind, d.Kind == DeviceKind.Cuda && !resources.MixedDevices ? d.Name : "")).Select(g => g.Count()).DefaultIfEmpty().Max();
        if (usable >= Math.Max(1, resources.MinRanks))
            return MemoryRefusal(spec, devices);
        var has = string.Join(" and ", all.GroupBy(d => d.Kind).Select(g => $"{g.Count()} {(g.Key == DeviceKind.Cuda ? "GPU" : "CPU")} {(g.Count() == 1 ? "slot" : "slots")}"));
        return usable == 0
            ? $"Device is {resources.Device}, expected one that the local cluster has: {has}. Leave Device at Any, or train on a cluster that has it."
            : $"MinRanks is {resources.MinRanks}, expected at most {usable}: the local cluster has {has}. Lower MinRanks, or {(fitting.Count(d => d.Kind == DeviceKind.Cuda) >= resources.MinRanks ? "take GPUs of several models (MixedDevices)" : "start one with LocalClusterOptions.Slots")}.";
    }

    // What a GPU has is not what the machine has.
    private static string? MemoryRefusal(JobSpec spec, IReadOnlyCollection<Device> devices)
    {
        var memory = devices.Where(d => d.Kind == DeviceKind.Cpu).Select(d => d.MemoryBytes).DefaultIfEmpty().Max();
        var mayUseGpu = spec.Resources?.Device != DeviceKind.Cpu && devices.Any(d => d.Kind == DeviceKind.Cuda);
        return memory == 0 ? null : BatchMemory.ModuleRefusal(spec, memory) ?? BatchMemory.Refusal(spec, Rows(spec), 1, mayUseGpu, BatchMemory.LeastModuleBytes(spec), memory);
    }

    private static long Rows(JobSpec spec) => Math.Max(spec.Data?.RowCount ?? 0, spec.Data?.ValidationRowCount ?? 0);
}
