using Grpc.Core;
using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

internal sealed partial class ClusterController
{
    private const double HeartbeatsPerTimeout = 4;

    /// <summary>Opens a worker's session, and compares what it runs with what is wanted.</summary>
    public WorkerSession Connect(Hello hello, bool isLocal)
    {
        var (worker, session) = workers.Open(hello, clock.Now);
        worker.IsLocal = isLocal;
        session.Send(new WorkerCommand
        {
            Welcome = new Welcome
            {
                SessionEpoch = session.Epoch,
                HeartbeatSeconds = options.HeartbeatTimeout.TotalSeconds / HeartbeatsPerTimeout,
                SharedStore = isLocal ? data.Path : "",
            },
        });
        var running = hello.RunningAttempts.Select(OpaqueId.Parse).ToHashSet();
        foreach (var attempt in worker.Attempts.Values.ToList())
            Reconcile(attempt, running.Contains(attempt.Id));
        Hold(worker, [.. running.Where(id => !worker.Attempts.ContainsKey(id))]);
        _log.Connected(worker.Host, session.Epoch, worker.Devices.Count);
        return session;
    }

    /// <summary>The stream is gone. The worker has the heartbeat timeout to come back.</summary>
    public void Disconnect(WorkerSession session)
    {
        if (session.Worker.Session != session)
            return;
        workers.Close(session.Worker);
        _log.Disconnected(session.Worker.Host, session.Epoch);
    }

    public void Receive(WorkerSession session, WorkerMessage message)
    {
        var worker = session.Worker;
        if (worker.Session != session || message.SessionEpoch != session.Epoch)
            throw Refusal(StatusCode.FailedPrecondition, $"The message is of session {message.SessionEpoch} of worker \"{worker.Host}\", expected session {worker.Session?.Epoch}. Connect again.");
        worker.LastSeen = clock.Now;
        switch (message.MessageCase)
        {
            case WorkerMessage.MessageOneofCase.Heartbeat: Update(worker, message.Heartbeat); break;
            case WorkerMessage.MessageOneofCase.AttemptReady: Apply(worker, message.AttemptReady.AttemptId, (_, part) => Ready(part)); break;
            case WorkerMessage.MessageOneofCase.AttemptStarted: Apply(worker, message.AttemptStarted.AttemptId, Started); break;
            case WorkerMessage.MessageOneofCase.Gather: Apply(worker, message.Gather.AttemptId, (_, part) => Meet(part, message.Gather)); break;
            case WorkerMessage.MessageOneofCase.Abort: Apply(worker, message.Abort.AttemptId, (_, part) => TellAbort(part, message.Abort)); break;
            case WorkerMessage.MessageOneofCase.DataOffer: Apply(worker, message.DataOffer.AttemptId, (_, part) => TellOffer(part, message.DataOffer)); break;
            case WorkerMessage.MessageOneofCase.Unheard: Apply(worker, message.Unheard.AttemptId, (_, part) => Hear(part, message.Unheard)); break;
            case WorkerMessage.MessageOneofCase.AttemptEvent: Apply(worker, message.AttemptEvent.AttemptId, (job, part) => Relay(job, part, message.AttemptEvent)); break;
            case WorkerMessage.MessageOneofCase.CheckpointSaved: Apply(worker, message.CheckpointSaved.AttemptId, (job, _) => Remember(worker, job, message.CheckpointSaved)); break;
            case WorkerMessage.MessageOneofCase.AttemptEnded: Ended(worker, message.AttemptEnded); break;
            default: throw Refusal(StatusCode.InvalidArgument, $"Worker \"{worker.Host}\" sent {message.MessageCase}, expected another message. Use the same release on both.");
        }
    }

    // What a worker tells of an attempt that nobody wants any more changes nothing.
    private void Apply(WorkerEntry worker, string attemptId, Action<JobEntry, AttemptPart> apply)
    {
        if (!worker.Attempts.TryGetValue(OpaqueId.Parse(attemptId), out var part))
            return;
        part.MissingSince = null;
        part.LastSign = clock.Now;
        if (jobs.Find(part.JobId) is { } job && job.Current == part.Attempt)
            apply(job, part);
    }

    private void Update(WorkerEntry worker, Heartbeat heartbeat)
    {
        if (heartbeat.Devices.Count == 0)
            return;
        var couldMeet = worker.Network is { Fault: "" };
        workers.Update(worker, heartbeat);
        if (!couldMeet || worker.Network is not { Fault: { Length: > 0 } fault })
            return;
        // MPI says nothing of a link that is cut, and its ranks would wait for their limit.
        foreach (var part in worker.Attempts.Values.Where(p => p is { GivenUpFor: null, Attempt.Parts.Count: > 1 } && jobs.Find(p.JobId)?.Current == p.Attempt).ToList())
            GiveUp(part, Failures.WorkerLost(worker, $"Worker \"{worker.Host}\" cannot use its network any more: {fault}."));
    }

    private void Reconcile(AttemptPart part, bool isRunning)
    {
        var job = jobs.Find(part.JobId);
        var attempt = part.Attempt;
        var isWanted = job?.Current == attempt;
        if (isWanted && isRunning)
        {
            part.MissingSince = null;
            part.LastSign = clock.Now;
            if (job!.CancelReason is { } reason)
                SendStop(part, reason);
            else if (job.State == JobState.Recovering && attempt.Living.All(p => p is { MissingSince: null, Worker.IsConnected: true }))
                TellBack(job, attempt);
        }
        else if (isWanted)
        {
            // It may have ended just before the connection broke: its outcome may still come.
            part.MissingSince = clock.Now;
        }
        else if (isRunning && job is not null && IsStillTheBest(job, part))
        {
            TakeBack(job, part);
        }
        else if (isRunning)
        {
            SendStop(part, "the coordinator gave this attempt up");
        }
        else
        {
            Release(part, "given up", null);
        }
    }

    // What has not begun, or of which some have not said that they have, begins as when it was placed: workers say again how far they are.
    private void TellBack(JobEntry job, AttemptEntry attempt)
    {
        var (state, what) = attempt.Living.All(p => p.HasStarted) ? (JobState.Running, "kept training") : (JobState.Placing, "kept what they have prepared");
        jobs.Transition(job, state, $"{Workers(attempt.Living)} {(attempt.Parts.Count == 1 ? "is" : "are")} back and {what}", attempt.WorldSize);
    }

    // Its worker was cut off, and nobody has taken the job over: what it trained, or has finished, counts.
    private static bool IsStillTheBest(JobEntry job, AttemptPart part) =>
        part is { Attempt.MayComeBack: true, GivenUpFor: not null } && job is { State: JobState.Recovering, Current: null, CancelReason: null } && job.Attempt == part.Attempt.Number + 1;

    private void TakeBack(JobEntry job, AttemptPart part)
    {
        job.EarlierFailures.Remove(part.GivenUpFor!);
        workers.TakeBack(part);
        (part.MissingSince, part.LastSign) = (null, clock.Now);
        part.Attempt.Forget();
        (job.Current, job.Attempt) = (part.Attempt, part.Attempt.Number);
        Save(part.ToRow());
        jobs.Transition(job, JobState.Running, $"worker \"{part.Worker.Host}\" is back with the attempt, which no other had taken over", part.Slots.Count);
    }

    // Attempts that the worker runs and nobody here knows: they must end before its slots are given away again.
    private void Hold(WorkerEntry worker, IReadOnlyList<OpaqueId> attempts)
    {
        if (attempts.Count == 0)
            return;
        AttemptPart[] parts = [.. attempts.Select(id => new AttemptEntry { Id = id, JobId = null, Number = 0, Started = Now }.AddForeign(worker))];
        workers.Hold(worker, parts);
        foreach (var part in parts)
            SendStop(part, "the coordinator does not know this attempt");
    }

    private void Lose(WorkerEntry worker, string reason)
    {
        _log.Lost(worker.Host, reason);
        workers.Lose(worker, $"The coordinator gave this worker up: {reason}. Connect again.");
        foreach (var part in worker.Attempts.Values.Where(a => a.GivenUpFor is null && !a.IsForeign).ToList())
        {
            var (attempt, failure) = (part.Attempt, Failures.WorkerLost(worker, Sentence(reason)));
            if (jobs.Find(part.JobId)?.Current != attempt)
            {
                workers.GiveUp(part, failure);
                continue;
            }

            GiveUp(part, failure);
            // Of several workers the others were told to stop.
            attempt.MayComeBack = attempt.Parts.Count == 1;
        }
    }

    private static string Sentence(string reason) => char.ToUpperInvariant(reason[0]) + reason[1..] + ".";
}
