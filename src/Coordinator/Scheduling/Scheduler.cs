using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>
/// Places gangs: all ranks of a job on one worker and one kind of device, or none. By priority, then first come first
/// served; who waits for a worker keeps it free from those behind him, but not the workers that he could never use.
/// </summary>
internal static class Scheduler
{
    /// <summary>One decision a job, in the order of the queue.</summary>
    /// <param name="now">The awake clock's time, for jobs that wait after a failure.</param>
    /// <param name="jobs">The queue, in any order.</param>
    /// <param name="workers">The connected workers.</param>
    /// <param name="isFixed">No other worker will come: a job that fits none of the connected ones fails.</param>
    public static IReadOnlyList<SchedulingDecision> Decide(TimeSpan now, IReadOnlyList<PendingJob> jobs, IReadOnlyList<WorkerCapacity> workers, bool isFixed = false)
    {
        var pools = workers.SelectMany(Pool.Of).ToList();
        var decisions = new List<SchedulingDecision>();
        foreach (var job in jobs.OrderByDescending(j => j.Priority).ThenBy(j => j.Number))
            decisions.Add(job.NotBefore > now ? SchedulingDecision.Wait(job, job.BackoffReason) : Decide(job, pools, isFixed));
        return decisions;
    }

    private static SchedulingDecision Decide(PendingJob job, List<Pool> pools, bool isFixed)
    {
        var usable = pools.Where(p => job.Device == DeviceKind.Any || p.Kind == job.Device).ToList();
        var eligible = usable.Where(p => p.Total >= job.MinRanks).ToList();
        if (eligible.Count == 0)
            return SchedulingDecision.Wait(job, NeverFits(job, pools, usable)) with { Fails = isFixed && pools.Count > 0, IsUnplaceable = true };

        var open = eligible.Where(p => p.ReservedFor is null).ToList();
        if (Best(job, open) is { } pool)
            return Place(job, pool);

        var ahead = eligible.FirstOrDefault(p => p.ReservedFor is not null)?.ReservedFor;
        foreach (var waited in open)
            waited.ReservedFor = job;
        if (open.Count == 0)
            return SchedulingDecision.Wait(job, $"waits behind {(ahead!.Tenant == job.Tenant ? $"job \"{ahead.Name}\"" : "another tenant's job")}, {(ahead.Priority > job.Priority ? "which has a higher priority" : "which came first")}");
        var most = open.MaxBy(p => p.Free.Count)!;
        return SchedulingDecision.Wait(job, $"waits for {Ranks(job.MinRanks)}{OfKind(job.Device)} on one worker; {most.Free.Count} {(most.Free.Count == 1 ? "is" : "are")} free on \"{most.Worker.Host}\"{(most.Held > 0 ? $", {most.Held} held until the worker confirms that attempts which were given up have ended" : "")}");
    }

    // A job that takes all it can get (max 0) is better off on an idle worker than on the rest of a busy one.
    private static Pool? Best(PendingJob job, List<Pool> open) => open
        .Where(p => p.Free.Count >= job.MinRanks)
        .OrderByDescending(p => job.MaxRanks == 0 && p.Free.Count == p.Total)
        .ThenByDescending(p => p.Kind == DeviceKind.Cuda)
        .ThenByDescending(p => WorldSize(job, p))
        .ThenBy(p => p.Free.Count)
        .ThenBy(p => p.Worker.Id, StringComparer.Ordinal)
        .FirstOrDefault();

    private static SchedulingDecision Place(PendingJob job, Pool pool)
    {
        var slots = pool.Free.Take(WorldSize(job, pool)).ToArray();
        pool.Free.RemoveRange(0, slots.Length);
        return new SchedulingDecision(job.Id, $"placed on \"{pool.Worker.Host}\" with {Ranks(slots.Length)}{OfKind(pool.Kind)}", pool.Worker.Id, slots);
    }

    private static int WorldSize(PendingJob job, Pool pool) => job.MaxRanks == 0 ? pool.Free.Count : Math.Min(job.MaxRanks, pool.Free.Count);

    private static string NeverFits(PendingJob job, List<Pool> pools, List<Pool> usable)
    {
        if (pools.Count == 0)
            return "waits for a worker; none is connected";
        var broken = (usable.Count > 0 ? usable : pools).Where(p => p.Faults.Count > 0).ToList();
        var faults = broken.Count == 0 ? "" : $"; {Slots(broken.Sum(p => p.Faults.Count))} of \"{broken[0].Worker.Host}\"{(broken.Count > 1 ? " and others" : "")} cannot be used: {broken[0].Faults[0]}";
        return $"needs {Ranks(job.MinRanks)}{OfKind(job.Device)} on one worker; the largest worker has {(usable.Count == 0 ? 0 : usable.Max(p => p.Total))}{faults}";
    }

    private static string Ranks(int count) => count == 1 ? "1 rank" : $"{count} ranks";

    private static string Slots(int count) => count == 1 ? "1 slot" : $"{count} slots";

    private static string OfKind(DeviceKind kind) => kind == DeviceKind.Any ? "" : $" of {kind.ToString().ToLowerInvariant()}";

    /// <summary>The slots of one kind on one worker.</summary>
    private sealed class Pool(WorkerCapacity worker, DeviceKind kind, List<int> free, int total, IReadOnlyList<string> faults)
    {
        public WorkerCapacity Worker => worker;
        public DeviceKind Kind => kind;
        public List<int> Free => free;
        public int Total => total;
        public IReadOnlyList<string> Faults => faults;
        public int Held { get; } = worker.Slots.Count(s => s.Kind == kind && s.IsHeld);
        public PendingJob? ReservedFor { get; set; }

        public static IEnumerable<Pool> Of(WorkerCapacity worker) => worker.Slots.GroupBy(s => s.Kind)
            .Select(g => new Pool(
                worker,
                g.Key,
                [.. g.Where(s => s is { IsFree: true, Fault: "" }).Select(s => s.Index).Order()],
                g.Count(s => s.Fault.Length == 0),
                [.. g.Select(s => s.Fault).Where(f => f.Length > 0)]));
    }
}
