using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>The slots of one kind on one worker: of GPUs those of a model, and once more all of them, for jobs that mix models.</summary>
/// <param name="Worker">The worker.</param>
/// <param name="Kind">Which kind of device.</param>
/// <param name="Model">Of its GPUs, empty for other devices; null: any.</param>
/// <param name="Free">What a placement may name, in order.</param>
/// <param name="Total">How many can be used, free or not.</param>
/// <param name="Faults">Why the others cannot.</param>
/// <param name="Held">How many are held by attempts that were given up and whose end the worker has not told.</param>
internal sealed record SlotPool(WorkerCapacity Worker, DeviceKind Kind, string? Model, IReadOnlyList<int> Free, int Total, IReadOnlyList<string> Faults, int Held)
{
    /// <summary>This worker's pools that have slots of this one and are of the other view, and how many each has.</summary>
    public IReadOnlyList<(PoolKind Kind, int Total)> Across { get; private init; } = [];

    /// <summary>Whether all of the worker's slots of this kind are free, of whatever model.</summary>
    public bool IsIdle { get; private init; }

    /// <summary>What the smallest of its GPUs has, in whole GiB, as drivers keep some MiB of a model or not; 0: other devices, or unknown.</summary>
    public long MemoryGiB { get; private init; }

    /// <summary>For which jobs it is.</summary>
    public DeviceView View => new(Kind, Model is null);

    public static IReadOnlyList<SlotPool> Of(WorkerCapacity worker)
    {
        var pools = worker.Slots.GroupBy(s => (s.Kind, Model: s.Kind == DeviceKind.Cuda ? s.Model : "")).Select(g => Pool(worker, g.Key.Kind, g.Key.Model, [.. g])).ToList();
        var all = worker.Slots.Where(s => s.Kind == DeviceKind.Cuda).ToList();
        if (all.Count == 0)
            return pools;
        var whole = Pool(worker, DeviceKind.Cuda, null, all) with { Across = [.. pools.Where(p => p.Kind == DeviceKind.Cuda).Select(p => (PoolKind.Of(p), p.Total))] };
        return [.. pools.Select(p => p.Kind == DeviceKind.Cuda ? p with { Across = [(PoolKind.Of(whole), whole.Total)], IsIdle = whole.IsIdle } : p), whole];
    }

    private static SlotPool Pool(WorkerCapacity worker, DeviceKind kind, string? model, IReadOnlyList<WorkerSlot> slots) => new(
        worker,
        kind,
        model,
        [.. slots.Where(s => s is { IsFree: true, Fault: "" }).Select(s => s.Index).Order()],
        slots.Count(s => s.Fault.Length == 0),
        [.. slots.Select(s => s.Fault).Where(f => f.Length > 0)],
        slots.Count(s => s.IsHeld))
    {
        IsIdle = slots.All(s => s.IsFree || s.Fault.Length > 0),
        MemoryGiB = (long)Math.Round(slots.Min(s => s.MemoryBytes) / (double)(1L << 30)),
    };

    /// <summary>What its ranks have in common with those that they can be in one gang with, in words.</summary>
    public string Description => string.IsNullOrEmpty(Model) ? Meeting : $"{Meeting} and {Model}";

    /// <summary>Why its ranks do not meet those of other workers, as in "was started without --network".</summary>
    public string CannotMeet => Kind == DeviceKind.Cpu || Worker.Meeting.Length == 0 ? Worker.CannotMeet
        : Worker.Nccl.Length == 0 ? $"has GPUs without NCCL ({Worker.NoNccl})"
        : "has GPUs of a model that is not known";

    /// <summary>What pools have in common whose ranks can meet over a network; empty: its ranks meet nobody's.</summary>
    public string Meeting => Kind == DeviceKind.Cpu || Worker.Meeting.Length == 0 ? Worker.Meeting : Worker.Nccl.Length == 0 || Model is "" ? "" : $"{Worker.Meeting} and NCCL {Worker.Nccl}";

    /// <summary>How many ranks the job would have here.</summary>
    public int WorldSize(PendingJob job) => job.MaxRanks == 0 ? Free.Count : Math.Min(job.MaxRanks, Free.Count);
}

/// <summary>Slots that may be in one gang: of one kind of device, of GPUs of one model or for jobs that mix them, on workers that can meet.</summary>
/// <param name="Device">The kind.</param>
/// <param name="Model">As the pools have it.</param>
/// <param name="Meeting">As the pools have it; empty: each of these workers is by itself.</param>
internal readonly record struct PoolKind(DeviceKind Device, string? Model, string Meeting)
{
    public bool CanMeet => Meeting.Length > 0;

    public DeviceView View => new(Device, Model is null);

    public static PoolKind Of(SlotPool pool) => new(pool.Kind, pool.Model, pool.Meeting);
}

/// <summary>What jobs ask for, or pools are for.</summary>
/// <param name="Device">The kind of device.</param>
/// <param name="MixesModels">Whether GPUs may be of several models.</param>
internal readonly record struct DeviceView(DeviceKind Device, bool MixesModels)
{
    /// <summary>That of the same GPUs for the other jobs.</summary>
    public DeviceView Across => this with { MixesModels = !MixesModels };

    /// <summary>Whether what is asked for here is there.</summary>
    public bool Fits(DeviceView pools) => Fits(Device, pools.Device) && (pools.Device == DeviceKind.Cpu || MixesModels == pools.MixesModels);

    /// <summary>Whether a device is of the kind that is asked for.</summary>
    public static bool Fits(DeviceKind asked, DeviceKind kind) => asked == DeviceKind.Any || asked == kind;
}

/// <summary>All that decides whether workers can hold a job of several: equal ones fit alike.</summary>
internal readonly record struct GangNeed(DeviceView View, Placement Placement, int MinRanks, int MaxRanks, int MinPerWorker, int MaxPerWorker)
{
    public static GangNeed Of(PendingJob job) => new(job.View, job.Placement, job.MinRanks, job.MaxRanks, job.MinPerWorker, job.MaxPerWorker);
}
