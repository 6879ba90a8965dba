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
        foreach (var attempt in worker.Attempts.Values.ToList())
            Reconcile(attempt, hello.RunningAttempts.Contains(attempt.Id));
        foreach (var unknown in hello.RunningAttempts.Where(id => !worker.Attempts.ContainsKey(id)))
            Hold(unknown, worker);
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
            case WorkerMessage.MessageOneofCase.AttemptStarted: Apply(worker, message.AttemptStarted.AttemptId, Started); break;
            case WorkerMessage.MessageOneofCase.AttemptEvent: Apply(worker, message.AttemptEvent.AttemptId, (job, attempt) => Relay(job, attempt, message.AttemptEvent)); break;
            case WorkerMessage.MessageOneofCase.CheckpointSaved: Apply(worker, message.CheckpointSaved.AttemptId, (job, _) => Remember(worker, job, message.CheckpointSaved)); break;
            case WorkerMessage.MessageOneofCase.AttemptEnded: Ended(worker, message.AttemptEnded); break;
            default: throw Refusal(StatusCode.InvalidArgument, $"Worker \"{worker.Host}\" sent {message.MessageCase}, expected another message. Use the same release on both.");
        }
    }

    // What a worker tells of an attempt that nobody wants any more changes nothing.
    private void Apply(WorkerEntry worker, string attemptId, Action<JobEntry, AttemptEntry> apply)
    {
        if (!worker.Attempts.TryGetValue(attemptId, out var attempt))
            return;
        attempt.MissingSince = null;
        attempt.LastSign = clock.Now;
        if (jobs.Find(attempt.JobId) is { } job && job.Current == attempt)
            apply(job, attempt);
    }

    private void Update(WorkerEntry worker, Heartbeat heartbeat)
    {
        if (heartbeat.Devices.Count > 0)
            workers.Update(worker, heartbeat.Devices);
    }

    private void Reconcile(AttemptEntry attempt, bool isRunning)
    {
        var job = jobs.Find(attempt.JobId);
        var isWanted = job?.Current == attempt;
        if (isWanted && isRunning)
        {
            attempt.MissingSince = null;
            attempt.LastSign = clock.Now;
            if (job!.CancelReason is { } reason)
                SendStop(attempt, reason);
            else if (job.State == JobState.Recovering)
                jobs.Transition(job, JobState.Running, $"worker \"{attempt.Worker.Host}\" is back and kept training", attempt.Slots.Count);
        }
        else if (isWanted)
        {
            // It may have ended just before the connection broke: its outcome may still come.
            attempt.MissingSince = clock.Now;
        }
        else if (isRunning && job is not null && IsStillTheBest(job, attempt))
        {
            TakeBack(job, attempt);
        }
        else if (isRunning)
        {
            SendStop(attempt, "the coordinator gave this attempt up");
        }
        else
        {
            Release(attempt, "given up", null);
        }
    }

    // Its worker was cut off, and nobody has taken the job over: what it trained, or has finished, counts.
    private static bool IsStillTheBest(JobEntry job, AttemptEntry attempt) =>
        attempt is { MayComeBack: true, GivenUpFor: not null } && job is { State: JobState.Recovering, Current: null, CancelReason: null } && job.Attempt == attempt.Number + 1;

    private void TakeBack(JobEntry job, AttemptEntry attempt)
    {
        job.EarlierFailures.Remove(attempt.GivenUpFor!);
        workers.TakeBack(attempt);
        (attempt.MissingSince, attempt.LastSign) = (null, clock.Now);
        (job.Current, job.Attempt) = (attempt, attempt.Number);
        var row = attempt.ToRow();
        journal.Append(context => context.Put(context.Attempts, row, isNew: false, a => a.Id == row.Id));
        jobs.Transition(job, JobState.Running, $"worker \"{attempt.Worker.Host}\" is back with the attempt, which no other had taken over", attempt.Slots.Count);
    }

    // An attempt that the worker runs and nobody here knows: it must end before its slots are given away again.
    private void Hold(string attemptId, WorkerEntry worker)
    {
        var attempt = new AttemptEntry
        {
            Id = attemptId,
            JobId = "",
            Number = 0,
            Worker = worker,
            Slots = [.. worker.Devices.Select(d => d.Slot)],
            Started = Now,
            IsForeign = true,
        };
        workers.Hold(attempt);
        SendStop(attempt, "the coordinator does not know this attempt");
    }

    private void Lose(WorkerEntry worker, string reason)
    {
        _log.Lost(worker.Host, reason);
        workers.Lose(worker, $"The coordinator gave this worker up: {reason}. Connect again.");
        foreach (var attempt in worker.Attempts.Values.Where(a => a.GivenUpFor is null && !a.IsForeign).ToList())
        {
            GiveUp(attempt, Failures.WorkerLost(worker, Sentence(reason)));
            attempt.MayComeBack = true;
        }
    }

    private static string Sentence(string reason) => char.ToUpperInvariant(reason[0]) + reason[1..] + ".";
}
