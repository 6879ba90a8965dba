using MLDistributed.Coordinator.Jobs;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Retries;

/// <summary>Decides whether a failed attempt is followed by another.</summary>
internal static class RetryPolicy
{
    private const int SameFailureLimit = 3;
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(30);

    /// <summary>How many of a job's failures are looked back at; it may go on through any number of them.</summary>
    public const int FailuresRemembered = 64;

    /// <param name="failure">What ended the attempt, and up to which step the job need not be trained again.</param>
    /// <param name="attempt">Its number, from 1.</param>
    /// <param name="spec">The job.</param>
    /// <param name="earlier">What ended the attempts before.</param>
    /// <param name="checkpoints">What the job has, newest first: the attempt went on from the first.</param>
    public static RetryDecision Decide(JobFailure failure, int attempt, JobSpec spec, IReadOnlyList<JobFailure> earlier, IReadOnlyList<StoredCheckpoint> checkpoints)
    {
        // An attempt that found its checkpoint damaged did not train, and is none of the job's. No endless loop: each costs a checkpoint.
        if (failure.Kind == FailureKind.CheckpointDamaged && checkpoints.Count > 0)
            return new RetryDecision(true, $"{failure.Message} Attempt {attempt + 1} follows, {StoredCheckpoint.Origin(checkpoints.Skip(1), failure.KeptStep)}.", TimeSpan.Zero) { DropsCheckpoint = true };
        if (failure.Kind is not (FailureKind.Crashed or FailureKind.WorkerLost))
            return RetryDecision.Fail(failure.Message);
        // A crash at step 0 says nothing about the training, and a lost worker nothing about the job.
        var same = failure.Kind == FailureKind.Crashed && failure.Step > 0
            ? 1 + earlier.Count(e => e.Kind == failure.Kind && e.Step == failure.Step && e.ExitCode == failure.ExitCode)
            : 0;
        if (same >= SameFailureLimit)
            return RetryDecision.Fail($"{failure.Message} The same happened {same} times at step {failure.Step}.");
        var losses = LossesSinceProgress(failure, earlier);
        if (losses >= spec.MaxAttempts)
            return RetryDecision.Fail(losses == 1 ? failure.Message : $"{failure.Message} That was the last of {losses} attempts that were lost without progress between them (MaxAttempts).");
        return new RetryDecision(true, $"{failure.Message} Attempt {attempt + 1} follows{(losses == 1 ? "" : $"; {losses} of {spec.MaxAttempts} were lost without progress")}.", Delay(losses));
    }

    // With this one. Progress is past all that was kept before, so that a job that only gets back to there ends.
    private static int LossesSinceProgress(JobFailure failure, IReadOnlyList<JobFailure> earlier)
    {
        var (losses, furthest) = (0, -1L);
        foreach (var loss in earlier.Where(e => e.Kind != FailureKind.CheckpointDamaged).Append(failure))
        {
            losses = loss.KeptStep > furthest ? 1 : losses + 1;
            furthest = Math.Max(furthest, loss.KeptStep);
        }

        return losses;
    }

    // The first retry comes at once: most crashes are a machine's, not the job's.
    private static TimeSpan Delay(int losses) =>
        losses == 1 ? TimeSpan.Zero : TimeSpan.FromSeconds(Math.Min(LongestDelay.TotalSeconds, Math.Pow(2, losses - 2)));
}

/// <summary>Whether, why in one sentence, and how long to wait before.</summary>
internal sealed record RetryDecision(bool Retry, string Reason, TimeSpan Delay)
{
    /// <summary>Whether the newest checkpoint is of no use.</summary>
    public bool DropsCheckpoint { get; init; }

    public static RetryDecision Fail(string reason) => new(false, reason, TimeSpan.Zero);
}
