using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Membership;
using MLDistributed.Coordinator.Metrics;
using MLDistributed.Coordinator.Scheduling;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

/// <summary>
/// Carries out what the pure decisions say: owns the jobs and the workers, and is used on the event loop only.
/// The other parts of this class hold the jobs' commands, the workers' messages and the ends of attempts.
/// </summary>
internal sealed partial class ClusterController(
    JobTable jobs, JobArchive archive, WorkerTable workers, CordonBook cordons, Journal journal, Blobs.BlobStore blobs, Ownership ownership, DataFolder data, CoordinatorOptions options, AwakeClock clock, ILogger<ClusterController> logger)
{
    private const double LeastRecoverySeconds = 3600;
    private const int BytesOfDevice = 400;
    private static readonly TimeSpan DroppedInterval = TimeSpan.FromSeconds(10);
    private readonly ClusterLog _log = new(logger);
    private readonly HashSet<JobEntry> _watched = [];
    private (long Queue, long Slots) _settled = (-1, -1);
    private (long Queue, long Slots) _told = (-1, -1);
    private IReadOnlyList<PendingJob> _heads = [];
    private TimeSpan _droppedTold;

    // For records; all waits are by the awake clock.
    private DateTimeOffset Now => options.Time.GetUtcNow();

    private (long Queue, long Slots) Versions => (jobs.Queue.Version, workers.Slots.Version);

    /// <summary>Runs after every action on the loop: places jobs when something changed that may allow it.</summary>
    public void Settle()
    {
        if (_settled == Versions)
            return;
        while (Scheduler.Decide(jobs.Queue, workers.Slots) is { } placement)
            Place(jobs.Find(placement.JobId)!, placement);
        if (options.IsLocalOnly && !workers.Slots.IsEmpty && !cordons.HasAnyByHand)
            foreach (var job in jobs.Queue.Unplaceable(workers.Slots).ToList())
                Refuse(jobs.Find(job.Id)!, Scheduler.Explain(job, [], workers.Slots));
        _settled = Versions;
        _heads = jobs.Queue.Heads(workers.Slots);
    }

    /// <summary>Notices what did not happen in time.</summary>
    public void Tick()
    {
        var now = clock.Now;
        foreach (var lost in MembershipRules.Decide(now, workers.Members(), options.HeartbeatTimeout, options.RecoveryTimeout))
            Lose(workers.Find(lost.Id)!, lost.Reason);
        foreach (var part in workers.Attempts().Where(a => a.MissingSince is { } since && now - since > options.HeartbeatTimeout).ToList())
            Fail(part, Failures.WorkerLost(part.Worker, $"Worker \"{part.Worker.Host}\" reconnected without the attempt, which ended unseen."), isBystander: false);
        foreach (var job in jobs.Active.ToList())
            Check(job, now);
        foreach (var attempt in workers.Forget(now).SelectMany(w => w.Attempts.Values).ToList())
            Release(attempt, "unknown", null);
        if (now - _droppedTold > DroppedInterval)
            TellDropped(now);
        jobs.Queue.Wake(now);
        Recordon(cordons.Expire(now), "its time is over");
        workers.EndDoubts(now);
        // Who can be placed does not wait, and is not told why.
        Settle();
        if (_told == _settled)
            return;
        _told = _settled;
        foreach (var job in _watched)
            TellWhy(job);
    }

    /// <summary>What may be shown of a job; why it waits is found out now.</summary>
    public JobSnapshot Snapshot(JobEntry job) => Explained(job, job.ToSnapshot());

    /// <summary>The same as lists show it.</summary>
    public JobSnapshot Summary(JobEntry job) => Explained(job, job.ToSummary());

    private JobSnapshot Explained(JobEntry job, JobSnapshot snapshot)
    {
        snapshot.Reason = Why(job);
        return snapshot;
    }

    /// <summary>The cluster as the caller may see it: all of it, or its tenant's part and of the rest counts and kinds.</summary>
    public ClusterSnapshot Snapshot(Caller caller)
    {
        var tenant = caller.Scopes.HasFlag(Scopes.Admin) ? null : caller.Tenant;
        var waiting = jobs.Queue.CountOf(tenant);
        return new ClusterSnapshot
        {
            Version = typeof(ClusterController).Assembly.GetName().Version?.ToString(3) ?? "",
            ProtocolVersion = ProtocolVersion.Current,
            Workers = { workers.Shown().Select(w => tenant is null || w.Attempts.Values.Any(a => jobs.Find(a.JobId)?.Tenant == tenant) ? w.ToSnapshot(clock.Now) : w.ToAnonymous()) },
            QueuedJobs = waiting,
            RunningJobs = jobs.ActiveOf(tenant) - waiting,
        };
    }

    /// <summary>What the cluster has and wants, of all tenants.</summary>
    public ClusterLoad Load()
    {
        var active = jobs.Active.ToList();
        return ClusterLoad.Of(active.Select(j => j.State), active.Where(j => j.IsPending).Select(j => j.ToPending()), workers.Shown().Where(w => w.IsConnected).Select(w => w.ToCapacity()));
    }

    /// <summary>About what <see cref="Snapshot(Caller)"/> takes while it is made and sent.</summary>
    public long SnapshotBytes => workers.Shown().Sum(w => 1L + w.Devices.Count) * BytesOfDevice;

    private void TellDropped(TimeSpan now)
    {
        _droppedTold = now;
        foreach (var attempt in workers.Attempts().Where(a => a.Dropped > 0))
            if (jobs.Find(attempt.JobId) is { } job && job.Current == attempt.Attempt)
                TellDropped(job, attempt);
    }

    // Waiting reasons are no history: they change with every job ahead. Who watches is told, at most once a tick.
    private void TellWhy(JobEntry job)
    {
        if (jobs.Queue.Find(job.Id) is not null && Why(job) is var why && why != job.Reason)
            job.Feed.Tell(jobs.Waiting(job, why));
    }

    private string Why(JobEntry job) => jobs.Queue.Find(job.Id) is { } pending ? Scheduler.Explain(pending, _heads, workers.Slots) : job.Reason;

    private void Check(JobEntry job, TimeSpan now)
    {
        if (job.CancelReason is not null && now >= job.CancelDeadline)
            Cancelled(job, job.Current is null ? job.CancelReason : $"{job.CancelReason}; {Workers(job.Current.Living)} did not confirm within {options.StopTimeout.TotalSeconds:0.#} s");
        else if (job.Current is { EndsBy: { } limit } failed && (now >= limit || !failed.Living.Any()))
            EndAttempt(failed);
        else if (IsUnplaceable(job, now) && QueueLimit(job) is { } queueLimit && now - job.UnplaceableSince > queueLimit)
            FailUnplaceable(job, queueLimit);
        else if (job is { State: JobState.Placing, Current: { } placed } && placed.Living.FirstOrDefault(p => IsAwaited(p) && now - p.LastSign > options.PlacingTimeout) is { } late)
            GiveUp(late, Failures.WorkerLost(late.Worker, $"Worker \"{late.Worker.Host}\" accepted the attempt and gave no sign of starting it for {options.PlacingTimeout.TotalSeconds:0.#} s, expected its ranks to start. See that worker's log."));
        else if (job is { State: JobState.Running, Current.First: { HasEnded: false, Worker.IsConnected: true } silent, CancelReason: null } && now - silent.LastSign > options.ProgressTimeout)
            GiveUp(silent, Failures.WorkerLost(silent.Worker, $"Worker \"{silent.Worker.Host}\" runs the attempt and told nothing of it for {options.ProgressTimeout.TotalSeconds:0.#} s, expected a step within that time (--progress-timeout). See that worker's log."), OutcomeKind.Crashed); // it may be the job's own step that is so long
        else if (job.CancelReason is null && job.Watchers == 0 && job.Spec.DisconnectPolicy == DisconnectPolicy.Cancel && now - job.UnwatchedSince > options.DisconnectGrace)
            Cancel(job, $"its submitter was gone for {options.DisconnectGrace.TotalSeconds:0.#} s, and the job's policy is to cancel then");
    }

    // One that is ready waits for the others, until all have been told to begin.
    private static bool IsAwaited(AttemptPart part) => !part.HasStarted && (!part.IsReady || part.Attempt.HasBegun);

    private static string Workers(IEnumerable<AttemptPart> parts) => $"worker {Words.Join(parts.Select(p => $"\"{p.Worker.Host}\""))}";

    // What has trained already waits longer: its checkpoints go with it, and machines come back.
    private static TimeSpan? QueueLimit(JobEntry job) => job.Spec.QueueTimeoutSeconds <= 0 ? null
        : job.State == JobState.Queued ? TimeSpan.FromSeconds(job.Spec.QueueTimeoutSeconds)
        : TimeSpan.FromSeconds(Math.Max(job.Spec.QueueTimeoutSeconds, LeastRecoverySeconds));

    private void FailUnplaceable(JobEntry job, TimeSpan limit)
    {
        var message = $"{(job.Spec.Resources is { Placement: not Placement.OneWorker } ? "The workers could not" : "No worker could")} hold the job within {limit.TotalSeconds:0.#} s (QueueTimeout): it {Why(job).TrimEnd('.')}. Connect such a worker, ask for less (MinRanks, Device), or allow more time.";
        Refuse(job, message);
    }

    private void Refuse(JobEntry job, string reason)
    {
        job.Failure = new JobFailure { Kind = FailureKind.Invalid, Message = reason, Rank = -1 };
        End(job, JobState.Failed, reason);
    }

    private bool IsUnplaceable(JobEntry job, TimeSpan now)
    {
        var never = jobs.Queue.Find(job.Id) is { } pending && Scheduler.IsUnplaceable(pending, workers.Slots);
        job.UnplaceableSince = never ? job.UnplaceableSince ?? now : null;
        return never;
    }

    // Of what an app needs for its model alone, a worker has no use.
    private static JobSpec ForWorkers(JobSpec spec)
    {
        if (spec.ModelSchema.IsEmpty && spec.ModelFrame is null)
            return spec;
        var sent = spec.Clone();
        sent.ModelSchema = Google.Protobuf.ByteString.Empty;
        sent.ModelFrame = null;
        return sent;
    }

    private void Place(JobEntry job, SchedulingDecision decision)
    {
        JobSpec spec;
        try
        {
            spec = ForWorkers(job.WholeSpec ?? archive.Spec(job.Id));
        }
        catch (InvalidDataException e)
        {
            Refuse(job, e.Message);
            return;
        }

        var attempt = job.Current = new AttemptEntry { Id = OpaqueId.New(), JobId = job.Id, Number = job.Attempt, Started = Now };
        foreach (var share in decision.Shares)
        {
            var part = attempt.Add(workers.Find(share.WorkerId)!, share.Slots, attempt.WorldSize);
            part.LastSign = clock.Now;
            workers.Hold(part);
            var row = part.ToRow();
            journal.Append(context => context.Attempts.Add(row));
        }

        jobs.Transition(job, JobState.Placing, decision.Reason, attempt.WorldSize);
        _log.Placed(job.Id, job.Attempt, attempt.Where());
        foreach (var (place, part) in attempt.Parts.Index())
            Start(job, part, spec, place);
    }

    private static void Start(JobEntry job, AttemptPart part, JobSpec spec, int place)
    {
        var start = new StartAttempt
        {
            JobId = job.Id.Text,
            AttemptId = part.Id.Text,
            Attempt = job.Attempt,
            Spec = spec,
            Slots = { part.Slots },
            ResumeFrom = job.Checkpoints.FirstOrDefault()?.ToArtifact(),
            ResumeStep = job.Checkpoints.FirstOrDefault()?.Step ?? 0,
            Participant = place,
        };
        if (part.Attempt.Parts.Count > 1)
            start.Participants.AddRange(part.Attempt.Participants());
        part.Worker.Session!.Send(new WorkerCommand { StartAttempt = start });
    }
}
