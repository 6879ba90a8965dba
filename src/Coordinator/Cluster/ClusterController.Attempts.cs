using Grpc.Core;
using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Retries;
using MLDistributed.Coordinator.Store;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

internal sealed partial class ClusterController
{
    // All begin, or none: who is ready first waits, with no rank in a world that others may never come to.
    private void Ready(AttemptPart part)
    {
        part.IsReady = true;
        var attempt = part.Attempt;
        if (attempt.HasBegun)
        {
            Begin(part); // it was cut off when the others were told
            return;
        }

        if (attempt.Living.Any(p => !p.IsReady))
            return;
        attempt.HasBegun = true;
        foreach (var ready in attempt.Living)
            Begin(ready);
    }

    private void Begin(AttemptPart part)
    {
        part.LastSign = clock.Now;
        part.Worker.Session?.Send(new WorkerCommand { BeginAttempt = new BeginAttempt { AttemptId = part.Id.Text } });
    }

    private void Started(JobEntry job, AttemptPart part)
    {
        part.HasStarted = true;
        // After a restart it is told again by who is back: until all are (TellBack), the job recovers.
        if (job.State == JobState.Placing && part.Attempt.Living.All(p => p.HasStarted))
            jobs.Transition(job, JobState.Running, $"runs on {part.Attempt.Where()}", part.Attempt.WorldSize);
    }

    private static void Meet(AttemptPart part, Gather gather)
    {
        var attempt = part.Attempt;
        if (attempt.Rendezvous.Take(attempt.Parts.Index().First(p => p.Item == part).Index, attempt.Parts.Count, gather) is not { } answer)
            return;
        foreach (var asking in answer.ToAll ? attempt.Living : [part])
            asking.Worker.Session?.Send(new WorkerCommand { Gathered = answer.Told });
    }

    private static void TellAbort(AttemptPart part, Abort abort)
    {
        foreach (var other in part.Attempt.Living.Where(p => p != part))
            other.Worker.Session?.Send(new WorkerCommand { Abort = abort });
    }

    // Once. A worker that does not hear of it, as its connection is another by then, fetches all from here.
    private static void TellOffer(AttemptPart part, DataOffer offer)
    {
        if (part.HasOffered)
            return;
        part.HasOffered = true;
        offer.Participant = part.Attempt.Parts.Index().First(p => p.Item == part).Index;
        foreach (var other in part.Attempt.Living.Where(p => p != part))
            other.Worker.Session?.Send(new WorkerCommand { DataOffer = offer });
    }

    private void Relay(JobEntry job, AttemptPart attempt, AttemptEvent told)
    {
        var limits = attempt.Worker.Limits;
        switch (told.EventCase)
        {
            case AttemptEvent.EventOneofCase.Progress or AttemptEvent.EventOneofCase.Epoch when !attempt.IsFirst:
                break; // rank 0 alone tells of the training
            case AttemptEvent.EventOneofCase.Progress:
                job.Progress = told.Progress;
                if (limits.Admits(told.Progress, clock.Now))
                    jobs.Publish(job, e => e.Progress = told.Progress);
                else
                    attempt.Dropped++;
                break;
            case AttemptEvent.EventOneofCase.Epoch when told.Epoch.Epoch < job.Spec.Epochs && (job.LastEpoch.Attempt < job.Attempt || job.LastEpoch.Epoch < told.Epoch.Epoch):
                job.LastEpoch = (job.Attempt, told.Epoch.Epoch);
                if (limits.AdmitsEpoch(clock.Now))
                    jobs.Publish(job, e => e.Epoch = told.Epoch);
                else
                    attempt.Dropped++;
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

    private void TellDropped(JobEntry job, AttemptPart attempt)
    {
        if (attempt.Dropped == 0)
            return;
        jobs.Log(job, Protocol.LogLevel.Warning, $"{attempt.Dropped:N0} lines of worker \"{attempt.Worker.Host}\" were dropped: more came than its jobs may log. Log less.");
        attempt.Dropped = 0;
    }

    private void Remember(WorkerEntry worker, JobEntry job, CheckpointSaved saved)
    {
        if (saved.Artifact is null)
            throw Refusal(StatusCode.InvalidArgument, $"Worker \"{worker.Host}\" told of a checkpoint without naming its file. Use the same release on both.");
        var checkpoint = new StoredCheckpoint(saved.Artifact.Hash, saved.Artifact.SizeBytes, saved.Step);
        if (saved.Step < job.Checkpoints.FirstOrDefault()?.Step || job.Checkpoints.Any(c => c.Id == checkpoint.Id))
            return; // told before
        if (!MayName(worker, job, checkpoint.Id))
        {
            var line = new LogLine { Level = Protocol.LogLevel.Warning, Source = "coordinator", Message = $"Checkpoint of step {saved.Step} is not in the store, expected it uploaded before it is told. Those before stay." };
            if (worker.Limits.Admits(line, clock.Now))
                jobs.Publish(job, e => e.Log = line);
            return;
        }

        var all = job.Checkpoints.Prepend(checkpoint).ToList();
        var kept = Math.Max(1, job.Spec.Checkpoint?.KeepLast ?? 1);
        job.Checkpoints = [.. all.Take(kept)];
        jobs.Save(job);
        DropCheckpoints(job, all.Skip(kept));
    }

    private void Ended(WorkerEntry worker, AttemptEnded ended)
    {
        if (!worker.Attempts.TryGetValue(OpaqueId.Parse(ended.AttemptId), out var part))
            return;
        var job = jobs.Find(part.JobId);
        part.Attempt.Keep(ended.Failure?.KeptStep ?? ended.Stopped?.KeptStep ?? 0);
        var failure = ended.OutcomeCase switch
        {
            AttemptEnded.OutcomeOneofCase.Failure => ended.Failure,
            AttemptEnded.OutcomeOneofCase.Result when job is not null && MissingArtifact(worker, job, ended.Result) is { } name =>
                Failures.Crashed(worker, $"Worker \"{worker.Host}\" reported artifact \"{name}\", which is not in the store."),
            AttemptEnded.OutcomeOneofCase.Result when part.IsFirst => null,
            AttemptEnded.OutcomeOneofCase.Finished when !part.IsFirst => null,
            _ when job?.CancelReason is not null || part.Attempt.EndsBy is not null => null,
            _ => Failures.WorkerLost(worker, $"Worker \"{worker.Host}\" stopped the attempt without being asked."),
        };
        if (job is null || job.Current != part.Attempt)
            Release(part, "unwanted", part.GivenUpFor ?? failure);
        else if (job.CancelReason is not null)
            Stopped(job, part);
        else if (failure is not null)
            Fail(part, failure, ended.IsBystander, isWorkers: !ended.IsLeaving);
        else if (ended.Result is { } result)
            Conclude(job, part, result);
        else
            Left(part, ended.Finished is null ? "stopped" : "finished");
    }

    private void Stopped(JobEntry job, AttemptPart part)
    {
        Release(part, "stopped", null);
        if (!part.Attempt.Living.Any())
            Cancelled(job, job.CancelReason!);
    }

    // Its part is done, or was ended by another's failure whose cause is waited for.
    private void Left(AttemptPart part, string outcome)
    {
        var attempt = part.Attempt;
        if (attempt.Failure is not null)
            NoteProgress(attempt); // this worker has told what it keeps
        Release(part, outcome, attempt.Failure);
        if (attempt.EndsBy is not null && !attempt.Living.Any())
            EndAttempt(attempt);
    }

    // With rank 0's result the others have nothing to do any more: they say so themselves, or are told.
    private void Conclude(JobEntry job, AttemptPart part, JobResult result)
    {
        var attempt = part.Attempt;
        Release(part, "succeeded", null);
        foreach (var each in attempt.Parts)
        {
            Note(each, OutcomeKind.Well);
            if (attempt.Parts.Count == 1)
                continue;
            workers.Trust(each.Worker);
            workers.Decide(each.Worker, isAtFault: false);
        }

        job.Current = null;
        job.Result = result;
        foreach (var artifact in result.Artifacts.Values)
            ownership.Grant(artifact.Hash, job.Tenant);
        End(job, JobState.Succeeded, $"trained {result.Epochs} {(result.Epochs == 1 ? "epoch" : "epochs")} on {Words.Ranks(result.WorldSize)}{(attempt.Parts.Count > 1 ? $" of {attempt.Parts.Count} workers" : "")}");
        foreach (var other in attempt.Living)
            SendStop(other, "the training is done");
    }

    /// <summary>A part has ended with a failure. That of a bystander is the attempt's only when no other comes to light.</summary>
    private void Fail(AttemptPart part, JobFailure failure, bool isBystander, bool isWorkers = true)
    {
        var attempt = part.Attempt;
        if (jobs.Find(part.JobId)?.Current != attempt)
        {
            Release(part, "failed", failure);
            return;
        }

        attempt.Note(failure, isWorkers && !isBystander ? BlameOf(part, failure) : null, isBystander);
        NoteProgress(attempt);
        Release(part, "failed", failure);
        Wind(attempt, failure.Message);
    }

    /// <summary>Ends an attempt because of a part that may still run: its slots stay taken until its worker says that it ended.</summary>
    private void GiveUp(AttemptPart part, JobFailure failure, OutcomeKind kind = OutcomeKind.Lost)
    {
        part.Attempt.Note(failure, new Blame(part, kind), isBystander: false);
        NoteProgress(part.Attempt);
        Abandon(part, failure);
        Wind(part.Attempt, failure.Message);
    }

    private void Abandon(AttemptPart part, JobFailure failure)
    {
        workers.GiveUp(part, failure);
        Save(part.ToRow(outcome: "given up"));
        SendStop(part, "the coordinator gave this attempt up");
    }

    // The other workers are told to stop, and awaited for a while: one of them may know the cause, and with their slots the
    // next attempt is as large as this one.
    private void Wind(AttemptEntry attempt, string reason)
    {
        if (!attempt.Living.Any())
        {
            EndAttempt(attempt);
            return;
        }

        if (attempt.EndsBy is not null)
            return;
        attempt.EndsBy = clock.Now + options.StopTimeout;
        foreach (var other in attempt.Living)
            SendStop(other, reason);
    }

    private void EndAttempt(AttemptEntry attempt)
    {
        Judge(attempt); // all have said whom they do not hear
        NoteProgress(attempt);
        foreach (var part in attempt.Living.ToList())
            Abandon(part, attempt.Failure!);
        GoOnAfter(attempt, attempt.Failure!);
    }

    // Stored with each part that ends, so that a restart counts the same losses. A damaged checkpoint keeps nothing.
    private void NoteProgress(AttemptEntry attempt) => attempt.Failure!.KeptStep = attempt.Failure.Kind == FailureKind.CheckpointDamaged ? attempt.KeptStep
        : Math.Max(attempt.KeptStep, jobs.Find(attempt.JobId)?.Checkpoints.FirstOrDefault()?.Step ?? 0);

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
        var cordon = Count(attempt.Blame) + Doubt(attempt);
        if (decision.Retry)
        {
            var unusable = job.Checkpoints.Take(decision.DropsCheckpoint ? 1 : 0).ToList();
            job.Checkpoints = [.. job.Checkpoints.Skip(unusable.Count)];
            foreach (var checkpoint in unusable)
                jobs.Log(job, Protocol.LogLevel.Warning, $"The checkpoint of step {checkpoint.Step} is damaged. Training goes on {StoredCheckpoint.Origin(job.Checkpoints, failure.KeptStep)}.");
            job.Attempt++;
            job.NotBefore = clock.Now + decision.Delay;
            jobs.Transition(job, JobState.Recovering, decision.Reason + cordon);
            DropCheckpoints(job, unusable);
        }
        else
        {
            job.Failure = failure;
            End(job, JobState.Failed, decision.Reason + cordon);
        }
    }

    private void Release(AttemptPart part, string outcome, JobFailure? failure)
    {
        if (jobs.Find(part.JobId) is { IsFinal: false } job)
            TellDropped(job, part);
        workers.Release(part);
        if (part.IsForeign)
            return;
        Save(part.ToRow(Now, outcome, failure));
    }

    private void Save(AttemptRow row) =>
        journal.Append(context => context.Put(context.Attempts, row, isNew: false, a => a.Id == row.Id && a.WorkerId == row.WorkerId));

    private string? MissingArtifact(WorkerEntry worker, JobEntry job, JobResult result) => result.Artifacts.FirstOrDefault(a => !MayName(worker, job, a.Value.Hash)).Key;
}
