using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>Jobs that wait ahead of another, in the order of the queue: each keeps the workers free that it could use.</summary>
internal sealed class WaitingLine(SlotIndex slots)
{
    private readonly List<PendingJob> _ahead = [];
    private readonly Dictionary<DeviceKind, int> _least = [];

    public void Add(PendingJob job)
    {
        _ahead.Add(job);
        foreach (var device in slots.Devices.Where(d => slots.CanHold(job, d)))
            _least[device] = Math.Min(job.LeastOnAWorker, _least.GetValueOrDefault(device, int.MaxValue));
    }

    /// <summary>Slots of a kind, on a worker with so many of it or more, are kept free.</summary>
    public int ReservedFrom(DeviceKind device) => _least.GetValueOrDefault(device, int.MaxValue);

    /// <summary>The first that keeps something free which the job could use.</summary>
    public PendingJob? AheadOf(PendingJob job) => _ahead.Find(a => slots.Share(a, job));
}
