using MLDistributed.Coordinator.Scheduling;

namespace MLDistributed.Coordinator.Tests.Scheduling;

/// <summary>What the scheduler does, written without any index: every job of the queue tries every worker.</summary>
internal static class NaiveScheduler
{
    public static IReadOnlyList<(string JobId, string WorkerId, string Slots)> Decide(IEnumerable<PendingJob> jobs, IEnumerable<WorkerCapacity> workers)
    {
        var pools = workers.SelectMany(w => w.Slots.SelectMany(s => s.Kind == DeviceKind.Cpu ? [(Slot: s, Model: "")] : new[] { (Slot: s, Model: s.Model), (Slot: s, Model: "any") })
            .GroupBy(s => (s.Slot.Kind, s.Model), s => s.Slot)
            .Select(g => new Pool(w.Id, g.Key.Kind, g.Key.Model, g.Min(s => s.MemoryBytes) >> 30, [.. g.Where(s => s.IsFree && s.Fault == "").Select(s => s.Index)], [.. g.Select(s => s.Index)], g.Count(s => s.Fault == "")))).ToList();
        var placed = new List<(string, string, string)>();
        foreach (var job in jobs.OrderByDescending(j => j.Priority).ThenBy(j => j.Number))
        {
            var usable = pools.Where(p => (job.Device == DeviceKind.Any || p.Kind == job.Device) && (p.Kind == DeviceKind.Cpu || job.MixesModels == (p.Model == "any")) && p.Total >= job.MinRanks).ToList();
            var open = usable.Where(p => !p.IsReserved);
            var best = Best(job, open, pools);
            if (job.MixesModels && best is not null && Best(job, pools.Where(p => !p.IsReserved && p.Kind == best.Kind && p.Model != "any" && p.Total >= job.MinRanks), pools) is { } same && Size(job, same) >= Size(job, best))
                best = same;
            if (best is null)
            {
                // And whatever has a slot of theirs.
                foreach (var pool in pools.Where(p => usable.Any(u => u.Shares(p))))
                    pool.IsReserved = true;
                continue;
            }

            var slots = best.Free.Take(Size(job, best)).ToList();
            foreach (var pool in pools.Where(best.Shares))
                pool.Free.RemoveAll(slots.Contains);
            placed.Add((job.Id.Text, best.WorkerId, string.Join(',', slots)));
        }

        return placed;
    }

    private static Pool? Best(PendingJob job, IEnumerable<Pool> open, IReadOnlyList<Pool> all) => open.Where(p => p.Free.Count >= job.MinRanks)
        .OrderByDescending(p => job.MaxRanks == 0 && all.Where(o => o.WorkerId == p.WorkerId && o.Kind == p.Kind).All(o => o.Free.Count == o.Total))
        .ThenByDescending(p => p.Kind == DeviceKind.Cuda)
        .ThenByDescending(p => Size(job, p))
        .ThenByDescending(p => p.MemoryGiB)
        .ThenBy(p => p.Free.Count)
        .ThenBy(p => p.WorkerId, StringComparer.Ordinal)
        .ThenBy(p => p.Model, StringComparer.Ordinal)
        .FirstOrDefault();

    private static int Size(PendingJob job, Pool pool) => job.MaxRanks == 0 ? pool.Free.Count : Math.Min(job.MaxRanks, pool.Free.Count);

    private sealed record Pool(string WorkerId, DeviceKind Kind, string Model, long MemoryGiB, List<int> Free, IReadOnlyList<int> All, int Total)
    {
        public bool Shares(Pool other) => WorkerId == other.WorkerId && All.Intersect(other.All).Any();

        public bool IsReserved { get; set; }
    }
}
