using Grpc.Core;
using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

internal sealed partial class ClusterController
{
    /// <summary>Queues a job; the same request again returns the same job.</summary>
    public JobEntry Submit(JobSpec spec, string tenant, string requestId)
    {
        if (requestId.Length > 0 && jobs.FindRequest(tenant, requestId) is { } known)
            return known;
        RequireRoom(tenant);
        var job = jobs.Add(spec, tenant, requestId);
        IsUnplaceable(job, clock.Now); // from now on its time to wait runs
        _log.Submitted(job.Id, spec.Name);
        return job;
    }

    /// <summary>Queues a job that goes on from what an ended one has kept, which is the new one's from now on.</summary>
    /// <param name="ended">The job that failed or was cancelled.</param>
    /// <param name="spec">All of its specification; this changes it.</param>
    /// <param name="requestId">Of the new one.</param>
    public JobEntry Resume(JobEntry ended, JobSpec spec, string requestId)
    {
        if (jobs.FindRequest(ended.Tenant, requestId) is { } known)
            return known;
        RequireRoom(ended.Tenant);
        // Whoever resumes it does not wait for it.
        spec.DisconnectPolicy = DisconnectPolicy.Finish;
        var job = jobs.Add(spec, ended.Tenant, requestId, ended.Checkpoints, $"resumes job {ended.Id} {StoredCheckpoint.Origin(ended.Checkpoints, inMemory: 0)}");
        ended.Checkpoints = [];
        jobs.Save(ended);
        IsUnplaceable(job, clock.Now);
        _log.Submitted(job.Id, spec.Name);
        return job;
    }

    private void RequireRoom(string tenant)
    {
        if (jobs.ActiveOf(tenant) is var living && living >= options.MaxJobs)
            throw Refusal(StatusCode.ResourceExhausted, $"Tenant \"{tenant}\" has {living:N0} jobs that wait or run, expected at most {options.MaxJobs:N0} (--max-jobs). Submit it when some have ended, or cancel some.");
    }

    /// <summary>Removes what ended jobs have kept too long.</summary>
    public void ForgetCheckpoints(IEnumerable<JobEntry> ended)
    {
        foreach (var stored in ended)
        {
            var job = jobs.Find(stored.Id) ?? stored;
            var checkpoints = job.Checkpoints;
            job.Checkpoints = [];
            jobs.Save(job);
            DropCheckpoints(job, checkpoints);
        }
    }

    /// <summary>Takes back a job whose submitter is told that it was refused: the same request, made again, is another one's.</summary>
    public void Withdraw(OpaqueId jobId, string reason)
    {
        if (jobs.Find(jobId) is not { } job)
            return;
        jobs.ForgetRequest(job);
        if (job.IsFinal)
            jobs.Save(job);
        else
            Cancel(job, reason);
    }

    public JobEntry? Find(OpaqueId jobId) => jobs.Find(jobId);

    /// <summary>Counts a watcher in; null when the job is not in memory any more, which is long after its end.</summary>
    public JobEntry? OpenWatch(OpaqueId jobId)
    {
        if (jobs.Find(jobId) is not { } job)
            return null;
        if (job.Watchers++ == 0)
            _watched.Add(job);
        TellWhy(job);
        return job;
    }

    public void CloseWatch(JobEntry job)
    {
        if (--job.Watchers > 0)
            return;
        job.UnwatchedSince = clock.Now;
        _watched.Remove(job);
    }

    public JobEntry? Cancel(OpaqueId jobId, string reason)
    {
        if (jobs.Find(jobId) is { } job)
            Cancel(job, string.IsNullOrWhiteSpace(reason) ? "cancelled by its owner" : reason);
        return jobs.Find(jobId);
    }

    private void Cancel(JobEntry job, string reason)
    {
        if (job.IsFinal || job.CancelReason is not null)
            return;
        job.CancelReason = reason;
        job.CancelDeadline = clock.Now + options.StopTimeout;
        if (job.Current is null)
        {
            Cancelled(job, reason);
            return;
        }

        jobs.Save(job); // a restart must not bring it back to life
        foreach (var part in job.Current.Living)
            SendStop(part, reason);
    }

    private void Cancelled(JobEntry job, string reason)
    {
        job.Current = null;
        End(job, JobState.Cancelled, reason);
    }

    private void End(JobEntry job, JobState state, string reason)
    {
        var all = job.Checkpoints;
        var kept = state == JobState.Succeeded || options.CheckpointRetention == TimeSpan.Zero ? 0 : 1;
        job.Checkpoints = [.. all.Take(kept)];
        jobs.Transition(job, state, reason, job.Result?.WorldSize ?? 0);
        _log.Ended(job.Id, state, reason);
        DropCheckpoints(job, all.Skip(kept));
    }

    private void DropCheckpoints(JobEntry job, IEnumerable<StoredCheckpoint> checkpoints)
    {
        foreach (var id in checkpoints.Select(c => c.Id))
        {
            var needed = jobs.Active.Any(j => j != job && j.Checkpoints.Any(c => c.Id == id))
                || job.Result?.Artifacts.Values.Any(a => a.Hash == id) == true;
            if (needed)
                continue;
            // After the commit, so that no database ever names a checkpoint that is gone.
            journal.Append(context =>
            {
                if (context.Blobs.Find(id.Text) is { } row)
                    context.Blobs.Remove(row);
            }, () => blobs.Delete(id));
        }
    }

    private void SendStop(AttemptPart part, string reason) => part.Worker.Session?.Send(new WorkerCommand
    {
        StopAttempt = new StopAttempt { AttemptId = part.Id.Text, Reason = reason, JobGoesOn = jobs.Find(part.JobId) is { IsFinal: false, CancelReason: null } },
    });

    private static RpcException Refusal(StatusCode code, string message) => new(new Status(code, message));
}
