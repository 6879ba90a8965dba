using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Retries;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

internal sealed partial class ClusterController
{
    private void Started(JobEntry job, AttemptEntry attempt)
    {
        if (job.State != JobState.Running)
            jobs.Transition(job, JobState.Running, $"runs on \"{attempt.Worker.Host}\" with {attempt.Slots.Count} {(attempt.Slots.Count == 1 ? "rank" : "ranks")}", attempt.Slots.Count);
    }

    private void Relay(JobEntry job, AttemptEntry attempt, AttemptEvent told)
    {
        var limits = attempt.Worker.Limits;
        switch (told.EventCase)
        {
            case AttemptEvent.EventOneofCase.Progress:
                job.Progress = told.Progress;
                if (limits.AdmitsProgress(clock.Now))
                    jobs.Publish(job, e => e.Progress = told.Progress);
                else
                    attempt.Dropped++;
                break;
            case AttemptEvent.EventOneofCase.Epoch when told.Epoch.Epoch < job.Spec.Epochs && (job.LastEpoch.Attempt < job.Attempt || job.LastEpoch.Epoch < told.Epoch.Epoch):
                job.LastEpoch = (job.Attempt, told.Epoch.Epoch);
                jobs.Publish(job, e => e.Epoch = told.Epoch);
                break;
            case AttemptEvent.EventOneofCase.Log:
                var line = RelayLimits.Cut(told.Log);
                if (limits.Admits(line, clock.Now))
                    jobs.Publish(job, e => e.Log = line);
                else
                    attempt.Dropped++;
                break;
        }
    }

    private void TellDropped(JobEntry job, AttemptEntry attempt)
    {
        if (attempt.Dropped == 0)
            return;
        jobs.Log(job, Protocol.LogLevel.Warning, $"{attempt.Dropped:N0} lines of worker \"{attempt.Worker.Host}\" were dropped: more came than its jobs may log. Log less.");
        attempt.Dropped = 0;
    }

    private void Remember(WorkerEntry worker, JobEntry job, CheckpointSaved saved)
    {
        if (saved.Step < job.Checkpoints.FirstOrDefault()?.Step || job.Checkpoints.Any(c => c.Artifact.Id == saved.Artifact.Id))
            return; // told before
        if (!MayName(worker, job, saved.Artifact.Id))
        {
            jobs.Log(job, Protocol.LogLevel.Warning, $"Checkpoint of step {saved.Step} is not in the store, expected it uploaded before it is told. Those before stay.");
            return;
        }

        var all = job.Checkpoints.Prepend(new StoredCheckpoint(saved.Artifact, saved.Step)).ToList();
        var kept = Math.Max(1, job.Spec.Checkpoint?.KeepLast ?? 1);
        job.Checkpoints = [.. all.Take(kept)];
        jobs.Save(job);
        DropCheckpoints(job, all.Skip(kept));
    }

    private void Ended(WorkerEntry worker, AttemptEnded ended)
    {
        if (!worker.Attempts.TryGetValue(ended.AttemptId, out var attempt))
            return;
        var job = jobs.Find(attempt.JobId);
        var failure = ended.OutcomeCase switch
        {
            AttemptEnded.OutcomeOneofCase.Failure => ended.Failure,
            AttemptEnded.OutcomeOneofCase.Result when job is not null && MissingArtifact(worker, job, ended.Result) is { } name =>
                Failures.Crashed(worker, $"Worker \"{worker.Host}\" reported artifact \"{name}\", which is not in the store."),
            AttemptEnded.OutcomeOneofCase.Result => null,
            _ when job?.CancelReason is not null => null,
            _ => Failures.WorkerLost(worker, $"Worker \"{worker.Host}\" stopped the attempt without being asked."),
        };
        if (job is null || job.Current != attempt)
            Release(attempt, "unwanted", attempt.GivenUpFor ?? failure);
        else if (job.CancelReason is not null || failure is null)
            Conclude(job, attempt, ended.Result);
        else
            FailAttempt(attempt, failure);
    }

    private void Conclude(JobEntry job, AttemptEntry attempt, JobResult? result)
    {
        Release(attempt, job.CancelReason is null ? "succeeded" : "stopped", null);
        job.Current = null;
        if (job.CancelReason is not null)
        {
            Cancelled(job, job.CancelReason);
            return;
        }

        job.Result = result;
        foreach (var artifact in result!.Artifacts.Values)
            ownership.Grant(artifact.Id, job.Tenant);
        End(job, JobState.Succeeded, $"trained {result!.Epochs} {(result.Epochs == 1 ? "epoch" : "epochs")} on {result.WorldSize} {(result.WorldSize == 1 ? "rank" : "ranks")}");
    }

    private void FailAttempt(AttemptEntry attempt, JobFailure failure)
    {
        NoteProgress(attempt, failure);
        Release(attempt, "failed", failure);
        GoOnAfter(attempt, failure);
    }

    /// <summary>Ends an attempt for its job, though not on its worker: its slots stay taken until the worker says that it ended.</summary>
    private void GiveUp(AttemptEntry attempt, JobFailure failure)
    {
        NoteProgress(attempt, failure);
        workers.GiveUp(attempt, failure);
        var row = attempt.ToRow(outcome: "given up");
        journal.Append(context => context.Put(context.Attempts, row, isNew: false, a => a.Id == row.Id));
        SendStop(attempt, "the coordinator gave this attempt up");
        GoOnAfter(attempt, failure);
    }

    // Stored with the attempt, so that a restart counts the same losses.
    private void NoteProgress(AttemptEntry attempt, JobFailure failure) =>
        failure.KeptStep = Math.Max(failure.KeptStep, jobs.Find(attempt.JobId)?.Checkpoints.FirstOrDefault()?.Step ?? 0);

    private void GoOnAfter(AttemptEntry attempt, JobFailure failure)
    {
        if (jobs.Find(attempt.JobId) is not { } job || job.Current != attempt)
            return;
        job.Current = null;
        if (job.CancelReason is not null)
        {
            Cancelled(job, job.CancelReason);
            return;
        }

        var decision = RetryPolicy.Decide(failure, job.Attempt, job.Spec, job.EarlierFailures, job.Checkpoints);
        job.Remember(failure);
        _log.AttemptFailed(job.Id, job.Attempt, decision.Reason);
        if (decision.Retry)
        {
            var unusable = job.Checkpoints.Take(decision.DropsCheckpoint ? 1 : 0).ToList();
            job.Checkpoints = [.. job.Checkpoints.Skip(unusable.Count)];
            foreach (var checkpoint in unusable)
                jobs.Log(job, Protocol.LogLevel.Warning, $"The checkpoint of step {checkpoint.Step} is damaged. Training goes on {StoredCheckpoint.Origin(job.Checkpoints)}.");
            job.Attempt++;
            job.NotBefore = clock.Now + decision.Delay;
            jobs.Transition(job, JobState.Recovering, decision.Reason);
            DropCheckpoints(job, unusable);
        }
        else
        {
            job.Failure = failure;
            End(job, JobState.Failed, decision.Reason);
        }
    }

    private void Release(AttemptEntry attempt, string outcome, JobFailure? failure)
    {
        if (jobs.Find(attempt.JobId) is { IsFinal: false } job)
            TellDropped(job, attempt);
        workers.Release(attempt);
        if (attempt.IsForeign)
            return;
        var row = attempt.ToRow(Now, outcome, failure);
        journal.Append(context => context.Put(context.Attempts, row, isNew: false, a => a.Id == row.Id));
    }

    private string? MissingArtifact(WorkerEntry worker, JobEntry job, JobResult result) => result.Artifacts.FirstOrDefault(a => !MayName(worker, job, a.Value.Id)).Key;
}
