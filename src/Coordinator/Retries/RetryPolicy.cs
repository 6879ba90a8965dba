using MLDistributed.Coordinator.Jobs;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Retries;

/// <summary>Decides whether a failed attempt is followed by another.</summary>
internal static class RetryPolicy
{
    private const int SameFailureLimit = 3;
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(30);

    /// <param name="failure">What ended the attempt.</param>
    /// <param name="attempt">Its number, from 1.</param>
    /// <param name="spec">The job.</param>
    /// <param name="earlier">What ended the attempts before.</param>
    /// <param name="checkpoints">What the job has, newest first: the attempt went on from the first.</param>
    public static RetryDecision Decide(JobFailure failure, int attempt, JobSpec spec, IReadOnlyList<JobFailure> earlier, IReadOnlyList<StoredCheckpoint> checkpoints)
    {
        // An attempt that found its checkpoint damaged did not train, and is none of the job's. No endless loop: each costs a checkpoint.
        var damaged = earlier.Count(e => e.Kind == FailureKind.CheckpointDamaged);
        var last = spec.MaxAttempts + damaged;
        if (failure.Kind == FailureKind.CheckpointDamaged && checkpoints.Count > 0)
            return new RetryDecision(true, $"{failure.Message} Attempt {attempt + 1} of {last + 1} follows, {StoredCheckpoint.Origin(checkpoints.Skip(1))}.", TimeSpan.Zero) { DropsCheckpoint = true };
        if (failure.Kind is not (FailureKind.Crashed or FailureKind.WorkerLost))
            return RetryDecision.Fail(failure.Message);
        // A crash at step 0 says nothing about the training, and a lost worker nothing about the job.
        var same = failure.Kind == FailureKind.Crashed && failure.Step > 0
            ? 1 + earlier.Count(e => e.Kind == failure.Kind && e.Step == failure.Step && e.ExitCode == failure.ExitCode)
            : 0;
        if (same >= SameFailureLimit)
            return RetryDecision.Fail($"{failure.Message} The same happened {same} times at step {failure.Step}.");
        if (attempt >= last)
            return RetryDecision.Fail(last == 1 ? failure.Message : $"{failure.Message} That was the last of {last} attempts.");
        return new RetryDecision(true, $"{failure.Message} Attempt {attempt + 1} of {last} follows.", Delay(attempt - damaged));
    }

    // The first retry comes at once: most crashes are a machine's, not the job's.
    private static TimeSpan Delay(int attempt) =>
        attempt == 1 ? TimeSpan.Zero : TimeSpan.FromSeconds(Math.Min(LongestDelay.TotalSeconds, Math.Pow(2, attempt - 2)));
}

/// <summary>Whether, why in one sentence, and how long to wait before.</summary>
internal sealed record RetryDecision(bool Retry, string Reason, TimeSpan Delay)
{
    /// <summary>Whether the newest checkpoint is of no use.</summary>
    public bool DropsCheckpoint { get; init; }

    public static RetryDecision Fail(string reason) => new(false, reason, TimeSpan.Zero);
}
