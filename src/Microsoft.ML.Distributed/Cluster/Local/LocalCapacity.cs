using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A local cluster never grows: a job that asks for more than it has would wait for ever.</summary>
internal static class LocalCapacity
{
    /// <summary>Whether a job may ask for too much; most ask for whatever there is.</summary>
    public static bool IsAsked(ResourceSpec? resources) => resources is { MinRanks: > 1 } or { Device: not DeviceKind.Any };

    /// <summary>What is wrong with what a job asks for, or null.</summary>
    public static string? Refusal(ResourceSpec resources, IEnumerable<Device> devices)
    {
        var all = devices.ToList();
        var usable = all.Count(d => resources.Device == DeviceKind.Any || d.Kind == resources.Device);
        if (usable >= Math.Max(1, resources.MinRanks))
            return null;
        var has = string.Join(" and ", all.GroupBy(d => d.Kind).Select(g => $"{g.Count()} {(g.Key == DeviceKind.Cuda ? "GPU" : "CPU")} {(g.Count() == 1 ? "slot" : "slots")}"));
        return usable == 0
            ? $"Device is {resources.Device}, expected one that the local cluster has: {has}. Leave Device at Any, or train on a cluster that has it."
            : $"MinRanks is {resources.MinRanks}, expected at most {usable}: the local cluster has {has}. Lower MinRanks, or start one with LocalClusterOptions.Slots.";
    }
}
