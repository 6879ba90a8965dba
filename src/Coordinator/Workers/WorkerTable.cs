using Grpc.Core;
using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Membership;
using MLDistributed.Coordinator.Scheduling;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>The workers that are, or were lately, connected; used on the event loop only.</summary>
internal sealed class WorkerTable(CordonBook cordons)
{
    private static readonly TimeSpan LostShownFor = TimeSpan.FromMinutes(10);
    private readonly Dictionary<string, WorkerEntry> _workers = new(StringComparer.Ordinal);
    private long _lastEpoch;

    /// <summary>Makes the epochs of this run higher than those of all runs before.</summary>
    /// <param name="start">Counts the coordinator's starts on its database.</param>
    public void StartEpochs(long start) => _lastEpoch = start << 32;

    /// <summary>The cordons of these workers have changed.</summary>
    public void Recordon(IEnumerable<string> ids)
    {
        foreach (var worker in ids.Select(Find).OfType<WorkerEntry>())
            Changed(worker);
    }

    public WorkerEntry? Find(string id) => _workers.GetValueOrDefault(id);

    /// <summary>The connected workers' slots.</summary>
    public SlotIndex Slots { get; } = new();

    public IEnumerable<Member> Members() => _workers.Values.Where(w => !w.IsLost).Select(w => new Member(w.Id, w.Host, w.LastSeen, w.IsRestored));

    public IEnumerable<AttemptPart> Attempts() => _workers.Values.SelectMany(w => w.Attempts.Values);

    public IEnumerable<WorkerEntry> Shown() => _workers.Values.Where(w => !w.IsRestored);

    /// <summary>A worker that ran an attempt when the coordinator stopped.</summary>
    public WorkerEntry Restore(string id, string host, TimeSpan now)
    {
        if (!_workers.TryGetValue(id, out var worker))
            _workers.Add(id, worker = new WorkerEntry { Id = id, Host = host, LastSeen = now, IsRestored = true });
        return worker;
    }

    /// <summary>Opens a session and ends the worker's earlier one, if its stream still hangs.</summary>
    public (WorkerEntry Worker, WorkerSession Session) Open(Hello hello, TimeSpan now)
    {
        if (!_workers.TryGetValue(hello.WorkerId, out var worker))
            _workers.Add(hello.WorkerId, worker = new WorkerEntry { Id = hello.WorkerId });
        var session = new WorkerSession(worker, ++_lastEpoch);
        worker.Session?.Close(StatusCode.Aborted, $"Session {session.Epoch} of this worker took over from session {worker.Session.Epoch}.");
        worker.Session = session;
        worker.Host = hello.Host;
        worker.Devices = hello.Devices;
        (worker.Build, worker.Network) = (hello.Build, hello.Network);
        worker.LastSeen = now;
        worker.IsRestored = worker.IsLost = false;
        Changed(worker);
        return (worker, session);
    }

    /// <summary>The stream is gone.</summary>
    public void Close(WorkerEntry worker)
    {
        worker.Session = null;
        Changed(worker);
    }

    /// <summary>Takes in what a heartbeat tells.</summary>
    public void Update(WorkerEntry worker, Heartbeat heartbeat)
    {
        var isSame = heartbeat.Devices.Select(d => d.Fault).SequenceEqual(worker.Devices.Select(d => d.Fault), StringComparer.Ordinal) && Equals(heartbeat.Network, worker.Network);
        (worker.Devices, worker.Network) = (heartbeat.Devices, heartbeat.Network);
        if (!isSame)
            Changed(worker);
    }

    /// <summary>Keeps a worker out of attempts over several for a while.</summary>
    public void Doubt(WorkerEntry worker, NetworkDoubt doubt)
    {
        worker.NetworkDoubt = doubt;
        Changed(worker);
    }

    /// <summary>With how many workers, other than some, a worker was lately in a tie that nothing has decided.</summary>
    public int Ties(WorkerEntry worker, IEnumerable<WorkerEntry> without, TimeSpan now) =>
        _workers.Values.Except(without.Append(worker)).Count(w => worker.NetworkDoubt?.IsTieWith(w.Id, now) == true || w.NetworkDoubt?.IsTieWith(worker.Id, now) == true);

    /// <summary>A gang with others, or an operator, has decided the ties that a worker was in: others' doubt is theirs alone now, or over.</summary>
    /// <param name="worker">The worker.</param>
    /// <param name="isAtFault">Whether it was this one.</param>
    public void Decide(WorkerEntry worker, bool isAtFault)
    {
        foreach (var other in _workers.Values)
        {
            if (other == worker || other.NetworkDoubt is not { } doubt || !doubt.Ties.Contains(worker.Id))
                continue;
            var left = doubt.Ties.Where(t => t != worker.Id).ToList();
            if (isAtFault && left.Count == 0)
                Trust(other);
            else
                Doubt(other, doubt with { Ties = left });
        }
    }

    /// <summary>The network of a worker is as good as any.</summary>
    public void Trust(WorkerEntry worker)
    {
        if (worker.NetworkDoubt is null)
            return;
        worker.NetworkDoubt = null;
        Changed(worker);
    }

    /// <summary>Lets those in again whose time is over.</summary>
    public void EndDoubts(TimeSpan now)
    {
        foreach (var worker in _workers.Values)
            if (worker.NetworkDoubt is { IsOver: false } doubt && doubt.Until <= now)
                Doubt(worker, doubt with { IsOver = true });
    }

    /// <summary>The part has its slots from now on, until <see cref="Release"/>.</summary>
    public void Hold(AttemptPart part) => Hold(part.Worker, [part]);

    /// <summary>The worker's parts have their slots from now on.</summary>
    public void Hold(WorkerEntry worker, IReadOnlyCollection<AttemptPart> parts)
    {
        foreach (var part in parts)
            worker.Attempts.Add(part.Id, part);
        Changed(worker);
    }

    public void Release(AttemptPart part)
    {
        part.HasEnded = true;
        part.Worker.Attempts.Remove(part.Id);
        Changed(part.Worker);
    }

    /// <summary>The part is wanted no more; its slots stay taken.</summary>
    public void GiveUp(AttemptPart part, JobFailure failure)
    {
        part.GivenUpFor = failure;
        Changed(part.Worker);
    }

    /// <summary>The part is wanted again.</summary>
    public void TakeBack(AttemptPart part)
    {
        (part.GivenUpFor, part.Attempt.MayComeBack) = (null, false);
        Changed(part.Worker);
    }

    /// <summary>Gives up a worker that was silent.</summary>
    /// <param name="worker">The worker.</param>
    /// <param name="reason">What its stream is told, should it still be open.</param>
    public void Lose(WorkerEntry worker, string reason)
    {
        worker.IsLost = true;
        worker.Session?.Close(StatusCode.Unavailable, reason);
        Close(worker);
    }

    /// <summary>Drops the workers that were lost long ago, and returns them.</summary>
    public IReadOnlyList<WorkerEntry> Forget(TimeSpan now)
    {
        var forgotten = _workers.Values.Where(w => w.IsLost && now - w.LastSeen > LostShownFor).ToList();
        foreach (var worker in forgotten)
            _workers.Remove(worker.Id);
        return forgotten;
    }

    private void Changed(WorkerEntry worker)
    {
        worker.Cordon = cordons.Find(worker.Id);
        if (worker.IsConnected)
            Slots.Put(worker.ToCapacity());
        else
            Slots.Remove(worker.Id);
    }
}
