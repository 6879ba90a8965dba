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
        if (!told.IsLost || attempt.EndsBy is not null || !attempt.Judge())
            return;
        NoteProgress(attempt);
        Wind(attempt, attempt.Failure!.Message);
    }

    // More words for the job's reason.
    private string Doubt(AttemptEntry attempt)
    {
        if (attempt.Lost is not { IsCutOff: true } lost)
            return "";
        var (worker, host) = (attempt.Parts[lost.Host].Worker, attempt.Participants().ElementAt(lost.Host).Host);
        var doubt = NetworkDoubt.After(worker.NetworkDoubt, "other workers did not hear it there", clock.Now);
        workers.Doubt(worker, doubt);
        _log.Doubted(host, doubt.Period.TotalMinutes, doubt.Reason);
        return $" For {doubt.Period.TotalMinutes:0.#} min worker \"{host}\" gets no job over several workers.";
    }
}
