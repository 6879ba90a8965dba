using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>Jobs that wait ahead of another, in the order of the queue: each keeps the workers free that it could use.</summary>
internal sealed class WaitingLine
{
    private readonly List<PendingJob> _ahead = [];
    private readonly Dictionary<DeviceKind, int> _least = [];

    public void Add(PendingJob job)
    {
        _ahead.Add(job);
        _least[job.Device] = Math.Min(job.MinRanks, _least.GetValueOrDefault(job.Device, int.MaxValue));
    }

    /// <summary>Slots of a kind, on a worker with so many of it or more, are kept free.</summary>
    public int ReservedFrom(DeviceKind kind) =>
        Math.Min(_least.GetValueOrDefault(kind, int.MaxValue), _least.GetValueOrDefault(DeviceKind.Any, int.MaxValue));

    /// <summary>The first that keeps something free which the job could use.</summary>
    public PendingJob? AheadOf(PendingJob job, SlotIndex slots) => _ahead.Find(a => slots.Share(a, job));
}
