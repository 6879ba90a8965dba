using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>A job that waits for its ranks.</summary>
internal sealed record PendingJob(OpaqueId Id, string Name, long Number, int Priority, DeviceKind Device, int MinRanks, int MaxRanks)
{
    /// <summary>Whether its ranks may be on several workers, and on few or on many.</summary>
    public Placement Placement { get; init; }

    /// <summary>With several workers: the fewest ranks on one.</summary>
    public int MinPerWorker { get; init; } = 1;

    /// <summary>With several workers: the most ranks on one; 0: as many as it has.</summary>
    public int MaxPerWorker { get; init; }

    /// <summary>Whether its GPUs may be of several models.</summary>
    public bool MixesModels { get; init; }

    /// <summary>On what its ranks may be.</summary>
    public DeviceView View => new(Device, MixesModels);

    /// <summary>A worker with fewer slots is of no use to it.</summary>
    public int LeastOnAWorker => Placement == Placement.OneWorker ? MinRanks : MinPerWorker;

    /// <summary>Whose it is.</summary>
    public string Tenant { get; init; } = "";

    /// <summary>Not placed earlier, because it just failed; zero: at once.</summary>
    public TimeSpan NotBefore { get; init; }

    /// <summary>What to say until then.</summary>
    public string BackoffReason { get; init; } = "";
}

/// <summary>A connected worker.</summary>
internal sealed record WorkerCapacity(string Id, string Host, IReadOnlyList<WorkerSlot> Slots)
{
    /// <summary>What workers have in common whose ranks can meet over a network: build and MPI. Empty: its ranks meet nobody's.</summary>
    public string Meeting { get; init; } = "";

    /// <summary>Why they do not, as in "was started without --network".</summary>
    public string CannotMeet { get; init; } = "";

    /// <summary>Which NCCL its GPUs meet those of other workers with, beside all that; empty: none.</summary>
    public string Nccl { get; init; } = "";

    /// <summary>Why none, without a full stop.</summary>
    public string NoNccl { get; init; } = "";

    /// <summary>Why it gets those jobs alone that no others could hold, as in "2 of the 3 attempts on it failed". Empty: it is like any other.</summary>
    public string Doubt { get; init; } = "";

    /// <summary>The same with these slots taken.</summary>
    public WorkerCapacity Without(IReadOnlyList<int> taken) => this with { Slots = [.. Slots.Select(s => taken.Contains(s.Index) ? s with { IsFree = false } : s)] };
}

/// <summary>A device of a worker.</summary>
/// <param name="Index">What a placement names.</param>
/// <param name="Kind">Which kind of device.</param>
/// <param name="IsFree">Whether no attempt holds it.</param>
/// <param name="Fault">Why no rank can run on it; empty: one can.</param>
/// <param name="IsHeld">Whether the attempt that has it was given up, and its worker has not said yet that it ended.</param>
internal sealed record WorkerSlot(int Index, DeviceKind Kind, bool IsFree, string Fault = "", bool IsHeld = false)
{
    /// <summary>Of a GPU, as its driver names it; empty: of other devices, or unknown.</summary>
    public string Model { get; init; } = "";

    /// <summary>Of a GPU; 0: of other devices, or unknown.</summary>
    public long MemoryBytes { get; init; }
}

/// <summary>What becomes of a job now, and why in one sentence. Without shares it waits, or it fails.</summary>
/// <param name="JobId">The job.</param>
/// <param name="Reason">Why.</param>
/// <param name="Shares">Its workers, in the order of the ranks.</param>
internal sealed record SchedulingDecision(OpaqueId JobId, string Reason, IReadOnlyList<WorkerShare> Shares)
{
    /// <summary>It can never run here.</summary>
    public bool Fails { get; init; }

    /// <summary>The connected workers could not hold it, were all idle.</summary>
    public bool IsUnplaceable { get; init; }

    public static SchedulingDecision Wait(PendingJob job, string reason) => new(job.Id, reason, []);
}

/// <summary>A worker's part of a gang: the ranks from the first on, one a slot.</summary>
internal sealed record WorkerShare(string WorkerId, IReadOnlyList<int> Slots);
