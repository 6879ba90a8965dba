using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>
/// Places gangs: all ranks of a job on one worker, or on several that can meet, and on one kind of device, or none. By
/// priority, then first come first served; who waits keeps the workers that he could use free from those behind him, but
/// not those that he could never use. As a gang has all of its slots or none, no two wait for halves of one another.
/// </summary>
internal static class Scheduler
{
    /// <summary>The next placement; null: nobody can be placed. Its cost grows with the kinds of jobs and of workers, not with their number.</summary>
    public static SchedulingDecision? Decide(JobQueue queue, SlotIndex slots)
    {
        var line = new WaitingLine(slots);
        foreach (var head in queue.Heads(slots))
        {
            if (Place(head, line, slots) is { } decision)
                return decision;
            line.Add(head);
        }

        return null;
    }

    /// <summary>Why a job waits that <see cref="Decide(JobQueue, SlotIndex)"/> does not place.</summary>
    /// <param name="job">One of the queue.</param>
    /// <param name="heads">The queue's heads.</param>
    /// <param name="slots">The workers.</param>
    public static string Explain(PendingJob job, IReadOnlyList<PendingJob> heads, SlotIndex slots)
    {
        if (job.NotBefore > TimeSpan.Zero)
            return job.BackoffReason;
        if (IsUnplaceable(job, slots))
            return NeverFits(job, slots);
        var line = new WaitingLine(slots);
        foreach (var head in heads.TakeWhile(h => JobQueue.Order.Compare(h, job) < 0))
            line.Add(head);
        if (job.Placement != Placement.OneWorker && line.AheadOf(job) is null)
            return GangWaits(job, slots.For(job)) + IfMixed(job, line, slots) + LeftOut(job, slots);
        if (job.Placement == Placement.OneWorker && slots.For(job).MostFree(job, line) is { } most)
            return $"waits for {Words.Ranks(job.MinRanks)}{OfKind(job.Device)} on one worker; {most.Free.Count} {(most.Free.Count == 1 ? "is" : "are")} free on \"{most.Worker.Host}\"{(most.Held > 0 ? $", {most.Held} held until the worker confirms that attempts which were given up have ended" : "")}{IfMixed(job, line, slots)}{LeftOut(job, slots)}";
        var ahead = line.AheadOf(job)!;
        return $"waits behind {(ahead.Tenant == job.Tenant ? $"job \"{ahead.Name}\"" : "another tenant's job")}, {(ahead.Priority > job.Priority ? "which has a higher priority" : "which came first")}";
    }

    /// <summary>Whether the connected workers could not hold the job, were all idle.</summary>
    public static bool IsUnplaceable(PendingJob job, SlotIndex slots) => job.NotBefore == TimeSpan.Zero && !slots.CanHold(job);

    /// <summary>A whole round from nothing, one decision a job in the order of the queue: what rounds that look at changes alone come to as well.</summary>
    /// <param name="now">The awake clock's time, for jobs that wait after a failure.</param>
    /// <param name="jobs">The queue, in any order.</param>
    /// <param name="workers">The connected workers.</param>
    /// <param name="isFixed">No other worker will come: a job that fits none of the connected ones fails.</param>
    public static IReadOnlyList<SchedulingDecision> Decide(TimeSpan now, IReadOnlyList<PendingJob> jobs, IReadOnlyList<WorkerCapacity> workers, bool isFixed = false)
    {
        var (queue, slots) = (new JobQueue(), new SlotIndex());
        foreach (var job in jobs)
            queue.Put(job);
        queue.Wake(now);
        foreach (var worker in workers)
            slots.Put(worker);
        var placed = new Dictionary<OpaqueId, SchedulingDecision>();
        while (Decide(queue, slots) is { } next)
        {
            placed.Add(next.JobId, next);
            queue.Remove(next.JobId);
            foreach (var share in next.Shares)
                slots.Put(slots.Find(share.WorkerId).Without(share.Slots));
        }

        var heads = queue.Heads(slots);
        return [.. jobs.Order(JobQueue.Order).Select(j => placed.GetValueOrDefault(j.Id) ?? Wait(queue.Find(j.Id)!))];

        SchedulingDecision Wait(PendingJob job)
        {
            var never = IsUnplaceable(job, slots);
            return SchedulingDecision.Wait(job, Explain(job, heads, slots)) with { IsUnplaceable = never, Fails = never && isFixed && !slots.IsEmpty };
        }
    }

    private static SchedulingDecision? Place(PendingJob job, WaitingLine line, SlotIndex slots)
    {
        var usable = slots.For(job);
        var shares = Shares(job, line, usable);
        if (shares.Count == 0)
            return null;
        // Of other devices there is one way to look at them.
        var other = KindOf(shares) == DeviceKind.Cuda ? Shares(job with { MixesModels = !job.MixesModels }, line, usable) : shares;
        // Who may mix models need not, where those of one do as much.
        if (job.MixesModels && other.Count == shares.Count && KindOf(other) == KindOf(shares) && Ranks(other) >= Ranks(shares))
            shares = other;
        var wider = !job.MixesModels && KindOf(other) == KindOf(shares) && Ranks(other) > Ranks(shares) ? $"; GPUs of other models are left out, with which it would have {Words.Ranks(Ranks(other))} (MixedDevices)" : "";
        return new SchedulingDecision(
            job.Id,
            $"placed on {Words.Join(shares.Select(s => $"\"{s.Pool.Worker.Host}\" with {Words.Ranks(s.Ranks)}"))}{OfKind(shares[0].Pool.Kind)}{wider}{LeftOut(job, slots)}{InDoubt(shares.Select(s => s.Pool.Worker))}",
            [.. shares.Select(s => new WorkerShare(s.Pool.Worker.Id, [.. s.Pool.Free.Take(s.Ranks)]))]);
    }

    private static IReadOnlyList<(SlotPool Pool, int Ranks)> Shares(PendingJob job, WaitingLine line, SlotIndex usable) =>
        job.Placement != Placement.OneWorker ? usable.BestGang(job, line)
        : usable.Best(job, line) is { } pool ? [(pool, pool.WorldSize(job))]
        : [];

    private static int Ranks(IReadOnlyList<(SlotPool Pool, int Ranks)> shares) => shares.Sum(s => s.Ranks);

    private static DeviceKind? KindOf(IReadOnlyList<(SlotPool Pool, int Ranks)> shares) => shares.Count == 0 ? null : shares[0].Pool.Kind;

    private static string LeftOut(PendingJob job, SlotIndex slots) => slots.LeftOut(job).ToList() is { Count: > 0 } doubted
        ? $"; {Words.Join(doubted.Select(w => $"\"{w.Host}\" is left out ({w.Doubt})"))}"
        : "";

    // As no others could hold it.
    private static string InDoubt(IEnumerable<WorkerCapacity> workers) => workers.Where(w => w.Doubt.Length > 0).ToList() is { Count: > 0 } doubted
        ? $", for want of others: {Words.Join(doubted.Select(w => $"\"{w.Host}\" is in doubt ({w.Doubt})"))}"
        : "";

    private static string GangWaits(PendingJob job, SlotIndex slots)
    {
        var pools = slots.Usable(job).FirstOrDefault() ?? [.. slots.Apart(job).DistinctBy(p => p.Worker.Id)];
        var held = pools.Sum(p => p.Held);
        return $"waits for {Asked(job)}; {Words.Join(pools.Select(p => $"{p.Free.Count} {(p.Free.Count == 1 ? "is" : "are")} free on \"{p.Worker.Host}\""))}{(held > 0 ? $", {held} held until their workers confirm that attempts which were given up have ended" : "")}";
    }

    private static string GangNeverFits(PendingJob job, SlotIndex slots)
    {
        var groups = slots.Usable(job);
        var apart = slots.Apart(job);
        var has = groups.Count == 0 ? $"there are none{(slots.Usable(job with { MixesModels = true }).Count > 0 ? " of one model" : "")}" : Words.Join(groups[0].Select(p => $"\"{p.Worker.Host}\" has {p.Total}"));
        var differ = groups.Count < 2 ? "" : $"; {Words.Join(groups.Select(g => $"\"{g[0].Worker.Host}\" has {g[0].Description}"))}, expected the same on all";
        return $"needs {Asked(job)}; {has}{differ}{IfMixed(job, slots)}{(apart.Count == 0 ? "" : $"; {Words.Join(apart.Select(p => $"\"{p.Worker.Host}\" {p.CannotMeet}"))}")}{Faults(job, slots)}";
    }

    private static string NeverFits(PendingJob job, SlotIndex slots)
    {
        if (slots.IsEmpty)
            return "waits for a worker; none is connected";
        if (job.Placement != Placement.OneWorker)
            return GangNeverFits(job, slots);
        var largest = slots.Largest(job.View);
        var isOfGpus = slots.Largest(job.View with { MixesModels = true }) > largest && slots.Largest(job.View with { Device = DeviceKind.Cuda }) == largest;
        return $"needs {Words.Ranks(job.MinRanks)}{OfKind(job.Device)} on one worker; the largest worker has {largest}{(isOfGpus ? " of one model" : "")}{IfMixed(job, slots)}{Faults(job, slots)}";
    }

    // What a job could have that is not to mix models: now, and were all idle.
    private static string IfMixed(PendingJob job, WaitingLine line, SlotIndex slots) =>
        !job.MixesModels && Place(job with { MixesModels = true }, line, slots) is not null ? "; GPUs of several models are free, which MixedDevices would take" : "";

    private static string IfMixed(PendingJob job, SlotIndex slots) =>
        !job.MixesModels && slots.CanHold(job with { MixesModels = true }) ? "; GPUs of several models could hold it, with MixedDevices" : "";

    private static string Faults(PendingJob job, SlotIndex slots) => slots.Broken(job.Device) is { Count: > 0 } broken
        ? $"; {Slots(broken.Sum(p => p.Faults.Count))} of \"{broken[0].Worker.Host}\"{(broken.Any(p => p.Worker.Id != broken[0].Worker.Id) ? " and others" : "")} cannot be used: {broken[0].Faults[0]}"
        : "";

    private static string Asked(PendingJob job)
    {
        var each = (job.MinPerWorker > 1 ? $"at least {job.MinPerWorker}" : "") + (job is { MinPerWorker: > 1, MaxPerWorker: > 0 } ? " and " : "") + (job.MaxPerWorker > 0 ? $"at most {job.MaxPerWorker}" : "");
        return $"{Words.Ranks(job.MinRanks)}{OfKind(job.Device)} on workers that can meet{(each.Length > 0 ? $", {each} on each" : "")}";
    }

    private static string Slots(int count) => count == 1 ? "1 slot" : $"{count} slots";

    private static string OfKind(DeviceKind kind) => kind == DeviceKind.Any ? "" : $" of {kind.ToString().ToLowerInvariant()}";
}
