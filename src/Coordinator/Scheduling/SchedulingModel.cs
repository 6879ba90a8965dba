using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>A job that waits for its ranks.</summary>
internal sealed record PendingJob(string Id, string Name, long Number, int Priority, DeviceKind Device, int MinRanks, int MaxRanks)
{
    /// <summary>Not placed earlier, because it just failed.</summary>
    public DateTimeOffset NotBefore { get; init; }

    /// <summary>What to say until then.</summary>
    public string BackoffReason { get; init; } = "";
}

/// <summary>A connected worker.</summary>
internal sealed record WorkerCapacity(string Id, string Host, IReadOnlyList<WorkerSlot> Slots);

internal sealed record WorkerSlot(int Index, DeviceKind Kind, bool IsFree);

/// <summary>What becomes of a job now, and why in one sentence. <paramref name="WorkerId"/> null: it waits.</summary>
internal sealed record SchedulingDecision(string JobId, string Reason, string? WorkerId, IReadOnlyList<int> Slots)
{
    public static SchedulingDecision Wait(PendingJob job, string reason) => new(job.Id, reason, null, []);
}
