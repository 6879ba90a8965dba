using System.Globalization;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Devices;

/// <summary>What CUDA shows of what NVML lists.</summary>
internal static class VisibleDevices
{
    /// <summary>Applies CUDA_VISIBLE_DEVICES, as CUDA does: its indices in its order, up to the first that is none.</summary>
    /// <param name="variable">Null: all devices. Names of devices (UUIDs) are not resolved: all are taken as visible.</param>
    public static IReadOnlyList<Device> Apply(IReadOnlyList<Device> all, string? variable)
    {
        if (variable is null || variable.Contains('-', StringComparison.Ordinal) && !variable.StartsWith('-'))
            return all;
        return [.. variable.Split(',', StringSplitOptions.TrimEntries)
            .Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var index) && index < all.Count ? all[index] : null)
            .TakeWhile(device => device is not null)
            .Select((device, index) => new Device(device) { Slot = index, Index = index })];
    }
}
