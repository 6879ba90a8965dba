using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Membership;
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
    JobTable jobs, WorkerTable workers, Journal journal, Blobs.BlobStore blobs, Ownership ownership, DataFolder data, CoordinatorOptions options, AwakeClock clock, ILogger<ClusterController> logger)
{
    private const double LeastRecoverySeconds = 3600;
    private readonly ClusterLog _log = new(logger);
    private bool _mustSchedule;

    // For records; all waits are by the awake clock.
    private DateTimeOffset Now => options.Time.GetUtcNow();

    /// <summary>Runs after every action on the loop: places jobs when something changed that may allow it.</summary>
    public void Settle()
    {
        if (!_mustSchedule)
            return;
        _mustSchedule = false;
        var pending = jobs.Active.Where(j => j.IsPending).Select(ToPending).ToList();
        if (pending.Count == 0)
            return;
        foreach (var decision in Scheduler.Decide(clock.Now, pending, workers.Capacities(), options.IsLocalOnly))
            Carry(jobs.Find(decision.JobId)!, decision);
    }

    /// <summary>Notices what did not happen in time.</summary>
    public void Tick()
    {
        var now = clock.Now;
        foreach (var lost in MembershipRules.Decide(now, workers.Members(), options.HeartbeatTimeout, options.RecoveryTimeout))
            Lose(workers.Find(lost.Id)!, lost.Reason);
        foreach (var attempt in workers.Attempts().Where(a => a.MissingSince is { } since && now - since > options.HeartbeatTimeout).ToList())
            FailAttempt(attempt, Failures.WorkerLost(attempt.Worker, $"Worker \"{attempt.Worker.Host}\" reconnected without the attempt, which ended unseen."));
        foreach (var job in jobs.Active.ToList())
            Check(job, now);
        foreach (var attempt in workers.Forget(now).SelectMany(w => w.Attempts.Values).ToList())
            Release(attempt, "unknown", null);
        _mustSchedule = true; // for jobs that wait after a failure
    }

    public ClusterSnapshot Snapshot() => new()
    {
        Version = typeof(ClusterController).Assembly.GetName().Version?.ToString(3) ?? "",
        ProtocolVersion = ProtocolVersion.Current,
        Workers = { workers.Snapshots() },
        QueuedJobs = jobs.Active.Count(j => j.IsPending),
        RunningJobs = jobs.Active.Count(j => !j.IsPending),
    };

    private void Check(JobEntry job, TimeSpan now)
    {
        if (job.CancelReason is not null && now >= job.CancelDeadline)
            Cancelled(job, job.Current is null ? job.CancelReason : $"{job.CancelReason}; worker \"{job.Current.Worker.Host}\" did not confirm within {options.StopTimeout.TotalSeconds:0.#} s");
        else if (job is { IsPending: true, UnplaceableSince: { } since } && QueueLimit(job) is { } limit && now - since > limit)
            FailUnplaceable(job, limit);
        else if (job is { State: JobState.Placing, Current: { } placed } && now - placed.LastSign > options.PlacingTimeout)
            GiveUp(placed, Failures.WorkerLost(placed.Worker, $"Worker \"{placed.Worker.Host}\" accepted the attempt and gave no sign of starting it for {options.PlacingTimeout.TotalSeconds:0.#} s, expected its ranks to start. See that worker's log."));
        else if (job.CancelReason is null && job.Watchers == 0 && job.Spec.DisconnectPolicy == DisconnectPolicy.Cancel && now - job.UnwatchedSince > options.DisconnectGrace)
            Cancel(job, $"its submitter was gone for {options.DisconnectGrace.TotalSeconds:0.#} s, and the job's policy is to cancel then");
    }

    // What has trained already waits longer: its checkpoints go with it, and machines come back.
    private static TimeSpan? QueueLimit(JobEntry job) => job.Spec.QueueTimeoutSeconds <= 0 ? null
        : job.State == JobState.Queued ? TimeSpan.FromSeconds(job.Spec.QueueTimeoutSeconds)
        : TimeSpan.FromSeconds(Math.Max(job.Spec.QueueTimeoutSeconds, LeastRecoverySeconds));

    private void FailUnplaceable(JobEntry job, TimeSpan limit)
    {
        var message = $"No worker could hold the job within {limit.TotalSeconds:0.#} s (QueueTimeout): it {job.Reason.TrimEnd('.')}. Connect such a worker, ask for less (MinRanks, Device), or allow more time.";
        job.Failure = new JobFailure { Kind = FailureKind.Invalid, Message = message, Rank = -1 };
        End(job, JobState.Failed, message);
    }

    private static PendingJob ToPending(JobEntry job)
    {
        var resources = job.Spec.Resources ?? new ResourceSpec();
        return new PendingJob(job.Id, job.Spec.Name, job.Number, job.Spec.Priority, resources.Device, Math.Max(1, resources.MinRanks), resources.MaxRanks)
        {
            NotBefore = job.NotBefore,
            Tenant = job.Tenant,
            BackoffReason = job.Reason,
        };
    }

    private void Carry(JobEntry job, SchedulingDecision decision)
    {
        job.UnplaceableSince = decision.IsUnplaceable ? job.UnplaceableSince ?? clock.Now : null;
        if (decision.Fails)
        {
            job.Failure = new JobFailure { Kind = FailureKind.Invalid, Message = decision.Reason, Rank = -1 };
            End(job, JobState.Failed, decision.Reason);
        }
        else if (decision.WorkerId is not null)
            Place(job, workers.Find(decision.WorkerId)!, decision);
        else if (decision.Reason != job.Reason && job.State == JobState.Queued)
            jobs.Transition(job, JobState.Queued, decision.Reason);
        else if (job.State == JobState.Recovering && job.NotBefore <= clock.Now && decision.Reason != job.Reason)
            jobs.Transition(job, JobState.Recovering, decision.Reason);
    }

    private void Place(JobEntry job, WorkerEntry worker, SchedulingDecision decision)
    {
        var attempt = new AttemptEntry
        {
            Id = OpaqueId.New(),
            JobId = job.Id,
            Number = job.Attempt,
            Worker = worker,
            Slots = decision.Slots,
            Started = Now,
            LastSign = clock.Now,
        };
        job.Current = attempt;
        worker.Attempts.Add(attempt.Id, attempt);
        var row = attempt.ToRow();
        journal.Append(context => context.Attempts.Add(row));
        jobs.Transition(job, JobState.Placing, decision.Reason, decision.Slots.Count);
        _log.Placed(job.Id, job.Attempt, worker.Host, decision.Slots.Count);
        worker.Session!.Send(new WorkerCommand
        {
            StartAttempt = new StartAttempt
            {
                JobId = job.Id,
                AttemptId = attempt.Id,
                Attempt = job.Attempt,
                Spec = job.Spec,
                Slots = { decision.Slots },
                ResumeFrom = job.Checkpoints.FirstOrDefault()?.Artifact,
            },
        });
    }
}
