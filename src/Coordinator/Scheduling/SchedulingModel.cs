using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>A job that waits for its ranks.</summary>
internal sealed record PendingJob(string Id, string Name, long Number, int Priority, DeviceKind Device, int MinRanks, int MaxRanks)
{
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
    /// <summary>The same with these slots taken.</summary>
    public WorkerCapacity Without(IReadOnlyList<int> taken) => this with { Slots = [.. Slots.Select(s => taken.Contains(s.Index) ? s with { IsFree = false } : s)] };
}

/// <summary>A device of a worker.</summary>
/// <param name="Index">What a placement names.</param>
/// <param name="Kind">Which kind of device.</param>
/// <param name="IsFree">Whether no attempt holds it.</param>
/// <param name="Fault">Why no rank can run on it; empty: one can.</param>
/// <param name="IsHeld">Whether the attempt that has it was given up, and its worker has not said yet that it ended.</param>
internal sealed record WorkerSlot(int Index, DeviceKind Kind, bool IsFree, string Fault = "", bool IsHeld = false);

/// <summary>What becomes of a job now, and why in one sentence. <paramref name="WorkerId"/> null: it waits, or it fails.</summary>
internal sealed record SchedulingDecision(string JobId, string Reason, string? WorkerId, IReadOnlyList<int> Slots)
{
    /// <summary>It can never run here.</summary>
    public bool Fails { get; init; }

    /// <summary>No connected worker could hold it, were all idle.</summary>
    public bool IsUnplaceable { get; init; }

    public static SchedulingDecision Wait(PendingJob job, string reason) => new(job.Id, reason, null, []);
}
