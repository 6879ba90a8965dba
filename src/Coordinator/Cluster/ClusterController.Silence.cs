using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

// Workers that reach the coordinator, but not one another.
internal sealed partial class ClusterController
{
    private void Hear(AttemptPart part, Unheard told)
    {
        var attempt = part.Attempt;
        attempt.Hear(part, told);
        if (!told.IsLost || attempt.EndsBy is not null || !Judge(attempt))
            return;
        NoteProgress(attempt);
        Wind(attempt, attempt.Failure!.Message);
    }

    private bool Judge(AttemptEntry attempt) => attempt.Judge(worker => workers.Ties(worker, attempt.Parts.Select(p => p.Worker), clock.Now));

    // More words for the job's reason.
    private string Doubt(AttemptEntry attempt)
    {
        if (attempt.Lost is not { IsCutOff: true } lost)
            return "";
        var (worker, names) = (attempt.Parts[lost.Host].Worker, attempt.Participants().Select(p => p.Host).ToList());
        var host = names[lost.Host];
        var others = Words.Join(lost.Ties.Select(t => $"\"{names[t]}\""));
        var isTie = others.Length > 0;
        var doubt = NetworkDoubt.After(worker.NetworkDoubt, isTie ? $"{others} and it did not hear one another there" : "other workers did not hear it there", clock.Now) with
        {
            Ties = [.. lost.Ties.Select(t => attempt.Parts[t].Worker.Id)],
        };
        if (!isTie)
            workers.Decide(worker, isAtFault: true);
        workers.Doubt(worker, doubt);
        _log.Doubted(host, doubt.Period.TotalMinutes, doubt.Reason);
        return $" For {doubt.Period.TotalMinutes:0.#} min worker \"{host}\" gets no job over several workers{(isTie ? $", as it may be at fault, or {others}: it counts for nobody until a gang with others decides it" : "")}.";
    }
}
