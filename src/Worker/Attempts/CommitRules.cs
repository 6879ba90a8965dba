using MLDistributed.Protocol;

namespace MLDistributed.Worker.Attempts;

/// <summary>Decides what becomes of the state that a job's attempts leave in memory. Steps are 0 where there is no state. Pure.</summary>
internal static class CommitRules
{
    /// <summary>The step in memory to go on from; 0: what the store has is newer. Of the same step memory wins, as nothing need be fetched.</summary>
    /// <param name="kept">What memory has.</param>
    /// <param name="stored">The step of the store's checkpoint.</param>
    public static long Resumed(long kept, long stored) => kept >= stored ? kept : 0;

    /// <summary>Whether the next attempt may want what this one has left. Where its checkpoint was damaged, memory that was older may be the newest now.</summary>
    /// <param name="end">Of the attempt.</param>
    /// <param name="jobGoesOn">Whether the coordinator said so when it stopped it.</param>
    public static bool IsKept(AttemptEnded end, bool jobGoesOn) => end.OutcomeCase switch
    {
        AttemptEnded.OutcomeOneofCase.Failure => end.Failure.Kind is FailureKind.Crashed or FailureKind.WorkerLost or FailureKind.CheckpointDamaged,
        AttemptEnded.OutcomeOneofCase.Stopped => jobGoesOn,
        _ => false,
    };

    /// <summary>Whether to wait for a checkpoint on its way to the store: it shortens the next attempt where memory has less, and is all that a failed job can be resumed from.</summary>
    /// <param name="end">Of the attempt.</param>
    /// <param name="jobGoesOn">Whether the coordinator said so when it stopped it.</param>
    /// <param name="kept">What memory has.</param>
    /// <param name="onItsWay">The checkpoint's step.</param>
    public static bool AwaitsCheckpoint(AttemptEnded end, bool jobGoesOn, long kept, long onItsWay)
    {
        var isKept = IsKept(end, jobGoesOn);
        return (isKept || end.Failure is not null) && onItsWay > (isKept ? kept : 0);
    }
}
