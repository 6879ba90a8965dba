using MLDistributed.Collectives;
using MLDistributed.Collectives.Nccl;
using MLDistributed.Training.Devices;

namespace MLDistributed.Training.Parallel;

/// <summary>
/// What the hosts' leaders tell one another before their GPUs join: first which NCCL each has, such as "2.27.5" or "none
/// libnccl.so.2 was not found"; then the first host's tells the id by which all ranks meet.
/// </summary>
internal static class NcclOffer
{
    private const string None = "none";

    /// <summary>Tells the other leaders, and hears them.</summary>
    /// <param name="place">This leader's.</param>
    /// <param name="link">What joins its devices; null: nothing.</param>
    /// <param name="missing">Why, without a full stop.</param>
    /// <returns>The id by which all ranks meet.</returns>
    /// <exception cref="FormatException">As <see cref="RequireOne"/>; or what the first told is no id.</exception>
    public static byte[] Exchange(HostPlace place, DeviceLink? link, string missing)
    {
        RequireOne(place.Topology, place.TellLeaders(link?.Nccl.Version ?? $"{None} {missing}"));
        // Made when all are known to be able to use it: NCCL listens for them from then on.
        return IdOf(place.Topology, place.TellLeaders(place.Host == 0 ? Convert.ToBase64String(link!.Nccl.NewId()) : ""));
    }

    /// <summary>Ranks of two versions do not meet: NCCL itself refuses them, later.</summary>
    /// <param name="topology">The hosts.</param>
    /// <param name="told">By their leaders, in the same order.</param>
    /// <exception cref="FormatException">One has none, or another than the first; the message names both hosts.</exception>
    public static void RequireOne(Topology topology, IReadOnlyList<string> told)
    {
        var first = Math.Max(0, told.ToList().FindIndex(t => !IsNone(t)));
        for (var host = 0; host < told.Count; host++)
            if (IsNone(told[host]) && host != first || told[host] != told[first])
                throw new FormatException(
                    $"Host \"{topology.Hosts[first].Name}\" has {Describe(told[first])}, host \"{topology.Hosts[host].Name}\" has {Describe(told[host])}, expected the same NCCL on all hosts of a job on GPUs. " +
                    $"Install it, or name it ({NcclLibrary.Variable}), or have the job on one worker or on CPUs.");
    }

    /// <summary>The id in what the first host's leader told.</summary>
    /// <exception cref="FormatException">It is none.</exception>
    public static byte[] IdOf(Topology topology, IReadOnlyList<string> told)
    {
        var id = new byte[NcclLibrary.IdBytes];
        return Convert.TryFromBase64String(told[0], id, out var count) && count == id.Length ? id
            : throw new FormatException($"Host \"{topology.Hosts[0].Name}\" told no id of NCCL's, expected {id.Length} bytes. Use workers of one release.");
    }

    private static bool IsNone(string told) => told.StartsWith(None, StringComparison.Ordinal);

    private static string Describe(string told) => IsNone(told) ? $"no NCCL ({told[None.Length..].Trim()})" : $"NCCL {told}";
}
