using MLDistributed.Coordinator.Scheduling;

namespace MLDistributed.Coordinator.Tests.Scheduling;

/// <summary>What the scheduler does, written without any index: every job of the queue tries every worker.</summary>
internal static class NaiveScheduler
{
    public static IReadOnlyList<(string JobId, string WorkerId, string Slots)> Decide(IEnumerable<PendingJob> jobs, IEnumerable<WorkerCapacity> workers)
    {
        var pools = workers.SelectMany(w => w.Slots.GroupBy(s => s.Kind).Select(g => new Pool(w.Id, g.Key, [.. g.Where(s => s.IsFree && s.Fault == "").Select(s => s.Index)], g.Count(s => s.Fault == "")))).ToList();
        var placed = new List<(string, string, string)>();
        foreach (var job in jobs.OrderByDescending(j => j.Priority).ThenBy(j => j.Number))
        {
            var open = pools.Where(p => !p.IsReserved && (job.Device == DeviceKind.Any || p.Kind == job.Device) && p.Total >= job.MinRanks).ToList();
            var best = open.Where(p => p.Free.Count >= job.MinRanks)
                .OrderByDescending(p => job.MaxRanks == 0 && p.Free.Count == p.Total)
                .ThenByDescending(p => p.Kind == DeviceKind.Cuda)
                .ThenByDescending(p => Size(job, p))
                .ThenBy(p => p.Free.Count)
                .ThenBy(p => p.WorkerId, StringComparer.Ordinal)
                .FirstOrDefault();
            if (best is null)
            {
                open.ForEach(p => p.IsReserved = true);
                continue;
            }

            var slots = best.Free.Take(Size(job, best)).ToList();
            best.Free.RemoveRange(0, slots.Count);
            placed.Add((job.Id.Text, best.WorkerId, string.Join(',', slots)));
        }

        return placed;
    }

    private static int Size(PendingJob job, Pool pool) => job.MaxRanks == 0 ? pool.Free.Count : Math.Min(job.MaxRanks, pool.Free.Count);

    private sealed record Pool(string WorkerId, DeviceKind Kind, List<int> Free, int Total)
    {
        public bool IsReserved { get; set; }
    }
}
