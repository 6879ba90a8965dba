using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>
/// Places gangs: all ranks of a job on one worker and one kind of device, or none. By priority, then first come first
/// served; who waits for a worker keeps it free from those behind him, but not the workers that he could never use.
/// </summary>
internal static class Scheduler
{
    /// <summary>The next placement; null: nobody can be placed. Its cost grows with the kinds of jobs and of workers, not with their number.</summary>
    public static SchedulingDecision? Decide(JobQueue queue, SlotIndex slots)
    {
        var line = new WaitingLine();
        foreach (var head in queue.Heads(slots))
        {
            if (slots.Best(head, line) is { } pool)
                return Place(head, pool);
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
        var line = new WaitingLine();
        foreach (var head in heads.TakeWhile(h => JobQueue.Order.Compare(h, job) < 0))
            line.Add(head);
        if (slots.MostFree(job, line) is { } most)
            return $"waits for {Ranks(job.MinRanks)}{OfKind(job.Device)} on one worker; {most.Free.Count} {(most.Free.Count == 1 ? "is" : "are")} free on \"{most.Worker.Host}\"{(most.Held > 0 ? $", {most.Held} held until the worker confirms that attempts which were given up have ended" : "")}";
        var ahead = line.AheadOf(job, slots)!;
        return $"waits behind {(ahead.Tenant == job.Tenant ? $"job \"{ahead.Name}\"" : "another tenant's job")}, {(ahead.Priority > job.Priority ? "which has a higher priority" : "which came first")}";
    }

    /// <summary>Whether no connected worker could hold the job, were all idle.</summary>
    public static bool IsUnplaceable(PendingJob job, SlotIndex slots) => job.NotBefore == TimeSpan.Zero && slots.Largest(job.Device) < job.MinRanks;

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
        var placed = new Dictionary<string, SchedulingDecision>(StringComparer.Ordinal);
        while (Decide(queue, slots) is { } next)
        {
            placed.Add(next.JobId, next);
            queue.Remove(next.JobId);
            slots.Put(slots.Find(next.WorkerId!).Without(next.Slots));
        }

        var heads = queue.Heads(slots);
        return [.. jobs.Order(JobQueue.Order).Select(j => placed.GetValueOrDefault(j.Id) ?? Wait(queue.Find(j.Id)!))];

        SchedulingDecision Wait(PendingJob job)
        {
            var never = IsUnplaceable(job, slots);
            return SchedulingDecision.Wait(job, Explain(job, heads, slots)) with { IsUnplaceable = never, Fails = never && isFixed && !slots.IsEmpty };
        }
    }

    private static SchedulingDecision Place(PendingJob job, SlotPool pool)
    {
        var slots = pool.Free.Take(pool.WorldSize(job)).ToArray();
        return new SchedulingDecision(job.Id, $"placed on \"{pool.Worker.Host}\" with {Ranks(slots.Length)}{OfKind(pool.Kind)}", pool.Worker.Id, slots);
    }

    private static string NeverFits(PendingJob job, SlotIndex slots)
    {
        if (slots.IsEmpty)
            return "waits for a worker; none is connected";
        var broken = slots.Broken(job.Device);
        var faults = broken.Count == 0 ? "" : $"; {Slots(broken.Sum(p => p.Faults.Count))} of \"{broken[0].Worker.Host}\"{(broken.Count > 1 ? " and others" : "")} cannot be used: {broken[0].Faults[0]}";
        return $"needs {Ranks(job.MinRanks)}{OfKind(job.Device)} on one worker; the largest worker has {slots.Largest(job.Device)}{faults}";
    }

    private static string Ranks(int count) => count == 1 ? "1 rank" : $"{count} ranks";

    private static string Slots(int count) => count == 1 ? "1 slot" : $"{count} slots";

    private static string OfKind(DeviceKind kind) => kind == DeviceKind.Any ? "" : $" of {kind.ToString().ToLowerInvariant()}";
}
