using Grpc.Core;
using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Store;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

// Workers that get no jobs, or those alone that no others could hold.
internal sealed partial class ClusterController
{
    /// <summary>Places no more jobs on a worker until <see cref="Uncordon"/>; what runs there goes on.</summary>
    public WorkerSnapshot Cordon(string workerId, string reason)
    {
        var worker = workers.Find(workerId) ?? throw Refusal(StatusCode.NotFound, $"Worker \"{workerId}\" is unknown, expected the id of one that is connected, or was within the last 10 minutes: see \"mldist workers\".");
        cordons.Put(workerId, reason);
        var row = new CordonRow { WorkerId = workerId, Reason = reason, Since = Now };
        journal.Append(context => context.Put(context.Cordons, row, isNew: context.Cordons.Find(workerId) is null, c => c.WorkerId == workerId));
        return Recordon(worker);
    }

    /// <summary>Places jobs on a worker again, whoever had cordoned it.</summary>
    public WorkerSnapshot Uncordon(string workerId)
    {
        var isKnown = cordons.Remove(workerId);
        var worker = workers.Find(workerId) ?? (isKnown ? new WorkerEntry { Id = workerId, IsLost = true } : null)
            ?? throw Refusal(StatusCode.NotFound, $"Worker \"{workerId}\" is unknown, expected the id of one that \"mldist workers\" shows, or that was cordoned.");
        workers.Trust(worker);
        workers.Decide(worker, isAtFault: true); // and it is mended
        journal.Append(context => context.Cordons.RemoveRange(context.Cordons.Where(c => c.WorkerId == workerId)));
        return Recordon(worker);
    }

    private WorkerSnapshot Recordon(WorkerEntry worker)
    {
        Recordon([worker.Id], "by an operator");
        return worker.ToSnapshot(clock.Now);
    }

    // ended: why those are not cordoned that were.
    private void Recordon(IReadOnlyList<string> changed, string ended)
    {
        workers.Recordon(changed);
        foreach (var worker in changed.Select(workers.Find).OfType<WorkerEntry>())
            if (worker.Cordon is { } cordon)
                _log.Cordoned(worker.Host, cordon.Reason);
            else
                _log.Uncordoned(worker.Host, ended);
    }

    // What else is wrong, with the job, its data or its code, says nothing of the worker.
    private static Blame? BlameOf(AttemptPart part, JobFailure failure) => failure.Kind switch
    {
        FailureKind.Crashed => new Blame(part, OutcomeKind.Crashed),
        FailureKind.WorkerLost => new Blame(part, OutcomeKind.Lost),
        _ => null,
    };

    /// <summary>Counts a failure against its worker, and says what follows from it, as more words for the job's reason.</summary>
    private string Count(Blame? blame)
    {
        if (blame is null)
            return "";
        var (worker, before) = (blame.Part.Worker, blame.Part.Worker.Cordon);
        Note(blame.Part, blame.Kind);
        return worker.Cordon is { Until: { } until } cordon && cordon != before
            ? $" For {(until - clock.Now).TotalMinutes:0.#} min worker \"{worker.Host}\" gets only jobs that no others could hold: {cordon.Reason}."
            : "";
    }

    private void Note(AttemptPart part, OutcomeKind kind) =>
        Recordon(cordons.Note(new AttemptOutcome(clock.Now, part.Worker.Id, part.JobId!, kind)), "the job that crashed on it crashed elsewhere too");
}
