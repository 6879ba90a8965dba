using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>Jobs that wait ahead of another, in the order of the queue: each keeps the workers free that it could use.</summary>
internal sealed class WaitingLine(SlotIndex slots)
{
    private readonly List<PendingJob> _ahead = [];
    private readonly Dictionary<PoolKind, int> _least = [];

    public void Add(PendingJob job)
    {
        _ahead.Add(job);
        foreach (var kind in slots.KindsFor(job))
            _least[kind] = Math.Min(job.LeastOnAWorker, ReservedFrom(kind));
    }

    /// <summary>Pools of so many slots or more are kept free, by jobs that look at them in the same way.</summary>
    public int ReservedFrom(PoolKind kind) => _least.GetValueOrDefault(kind, int.MaxValue);

    /// <summary>Whether pools may be kept free by jobs that look at their slots in the other way.</summary>
    public bool Crosses(DeviceView view) => _least.Keys.Any(k => k.View == view.Across);

    /// <summary>Whether this one is.</summary>
    public bool KeepsAcross(SlotPool pool) => pool.Across.Any(p => p.Total >= ReservedFrom(p.Kind));

    /// <summary>The first that keeps something free which the job could use.</summary>
    public PendingJob? AheadOf(PendingJob job) => _ahead.Find(a => slots.Share(a, job));
}
