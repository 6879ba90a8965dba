using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>Jobs that wait ahead of another, in the order of the queue: each keeps the workers free that it could use.</summary>
internal sealed class WaitingLine(SlotIndex slots)
{
    private readonly List<PendingJob> _ahead = [];
    private readonly Dictionary<DeviceView, int> _least = [];

    public void Add(PendingJob job)
    {
        _ahead.Add(job);
        foreach (var view in slots.Views.Where(v => slots.CanHold(job, v)))
            _least[view] = Math.Min(job.LeastOnAWorker, ReservedFrom(view));
    }

    /// <summary>Pools of so many slots or more are kept free, by jobs that look at them in the same way.</summary>
    public int ReservedFrom(DeviceView view) => _least.GetValueOrDefault(view, int.MaxValue);

    /// <summary>Whether pools may be kept free by jobs that look at their slots in the other way.</summary>
    public bool Crosses(DeviceView view) => _least.ContainsKey(view.Across);

    /// <summary>Whether this one is.</summary>
    public bool KeepsAcross(SlotPool pool) => pool.TotalAcross >= ReservedFrom(pool.View.Across);

    /// <summary>The first that keeps something free which the job could use.</summary>
    public PendingJob? AheadOf(PendingJob job) => _ahead.Find(a => slots.Share(a, job));
}
