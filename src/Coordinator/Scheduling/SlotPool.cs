using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>The slots of one kind on one worker.</summary>
/// <param name="Worker">The worker.</param>
/// <param name="Kind">Which kind of device.</param>
/// <param name="Free">What a placement may name, in order.</param>
/// <param name="Total">How many can be used, free or not.</param>
/// <param name="Faults">Why the others cannot.</param>
/// <param name="Held">How many are held by attempts that were given up and whose end the worker has not told.</param>
internal sealed record SlotPool(WorkerCapacity Worker, DeviceKind Kind, IReadOnlyList<int> Free, int Total, IReadOnlyList<string> Faults, int Held)
{
    public static IReadOnlyList<SlotPool> Of(WorkerCapacity worker) => [.. worker.Slots.GroupBy(s => s.Kind).Select(g => new SlotPool(
        worker,
        g.Key,
        [.. g.Where(s => s is { IsFree: true, Fault: "" }).Select(s => s.Index).Order()],
        g.Count(s => s.Fault.Length == 0),
        [.. g.Select(s => s.Fault).Where(f => f.Length > 0)],
        g.Count(s => s.IsHeld)))];

    /// <summary>Why its ranks do not meet those of other workers, as in "was started without --network".</summary>
    public string CannotMeet => Kind == DeviceKind.Cpu || Worker.Meeting.Length == 0 ? Worker.CannotMeet : $"has GPUs without NCCL ({Worker.NoNccl})";

    /// <summary>What pools have in common whose ranks can meet over a network; empty: its ranks meet nobody's.</summary>
    public string Meeting => Kind == DeviceKind.Cpu || Worker.Meeting.Length == 0 ? Worker.Meeting : Worker.Nccl.Length == 0 ? "" : $"{Worker.Meeting} and NCCL {Worker.Nccl}";

    /// <summary>How many ranks the job would have here.</summary>
    public int WorldSize(PendingJob job) => job.MaxRanks == 0 ? Free.Count : Math.Min(job.MaxRanks, Free.Count);
}

/// <summary>Slots that may be in one gang: of one kind of device, on workers that can meet.</summary>
/// <param name="Device">The kind.</param>
/// <param name="Meeting">As the pools have it; empty: each of these workers is by itself.</param>
internal readonly record struct PoolKind(DeviceKind Device, string Meeting)
{
    public bool CanMeet => Meeting.Length > 0;

    public static PoolKind Of(SlotPool pool) => new(pool.Kind, pool.Meeting);
}

/// <summary>All that decides whether workers can hold a job of several: equal ones fit alike.</summary>
internal readonly record struct GangNeed(DeviceKind Device, Placement Placement, int MinRanks, int MaxRanks, int MinPerWorker, int MaxPerWorker)
{
    public static GangNeed Of(PendingJob job) => new(job.Device, job.Placement, job.MinRanks, job.MaxRanks, job.MinPerWorker, job.MaxPerWorker);
}
