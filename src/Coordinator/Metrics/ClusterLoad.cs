using MLDistributed.Coordinator.Scheduling;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Metrics;

/// <summary>What the cluster has and what its jobs want, at a moment.</summary>
/// <param name="Jobs">Living jobs by state.</param>
/// <param name="Workers">Connected workers.</param>
/// <param name="Devices">Their slots by kind of device; a kind that jobs want and no worker has is among them.</param>
internal sealed record ClusterLoad(IReadOnlyDictionary<JobState, int> Jobs, int Workers, IReadOnlyList<DeviceLoad> Devices)
{
    public static readonly ClusterLoad None = new(new Dictionary<JobState, int>(), 0, []);

    /// <param name="states">Those of the living jobs.</param>
    /// <param name="waiting">The jobs that wait for slots.</param>
    /// <param name="workers">The connected workers.</param>
    public static ClusterLoad Of(IEnumerable<JobState> states, IEnumerable<PendingJob> waiting, IEnumerable<WorkerCapacity> workers)
    {
        var connected = workers.ToList();
        var slots = connected.SelectMany(w => w.Slots).ToLookup(s => s.Kind);
        var missing = waiting.ToLookup(j => j.Device, Appetite);
        var kinds = slots.Select(s => s.Key).Union(missing.Select(m => m.Key)).Order();
        return new ClusterLoad(
            states.CountBy(s => s).ToDictionary(),
            connected.Count,
            [.. kinds.Select(kind => DeviceLoad.Of(kind, slots[kind], missing[kind].Sum()))]);
    }

    /// <summary>The slots that a job would take: its most ranks where it names a number, else its fewest.</summary>
    private static long Appetite(PendingJob job) => job.MaxRanks > 0 ? job.MaxRanks : job.MinRanks;
}

/// <summary>Slots of one kind of device. <see cref="DeviceKind.Any"/>: wanted by jobs that take whatever there is.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Free">No attempt has them.</param>
/// <param name="Busy">Attempts have them, some of which may have been given up.</param>
/// <param name="Broken">No rank can run on them.</param>
/// <param name="Wanted">What would serve all: the busy ones and what waiting jobs would take.</param>
internal sealed record DeviceLoad(DeviceKind Kind, int Free, int Busy, int Broken, long Wanted)
{
    public static DeviceLoad Of(DeviceKind kind, IEnumerable<WorkerSlot> slots, long missing)
    {
        var usable = slots.ToLookup(s => s.Fault.Length == 0);
        var busy = usable[true].Count(s => !s.IsFree);
        return new DeviceLoad(kind, usable[true].Count(s => s.IsFree), busy, usable[false].Count(), busy + missing);
    }
}
