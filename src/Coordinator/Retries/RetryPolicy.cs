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
    public static RetryDecision Decide(JobFailure failure, int attempt, JobSpec spec, IReadOnlyList<JobFailure> earlier)
    {
        if (failure.Kind is not (FailureKind.Crashed or FailureKind.WorkerLost))
            return RetryDecision.Fail(failure.Message);
        // A crash at step 0 says nothing about the training, and a lost worker nothing about the job.
        var same = failure.Kind == FailureKind.Crashed && failure.Step > 0
            ? 1 + earlier.Count(e => e.Kind == failure.Kind && e.Step == failure.Step && e.ExitCode == failure.ExitCode)
            : 0;
        if (same >= SameFailureLimit)
            return RetryDecision.Fail($"{failure.Message} The same happened {same} times at step {failure.Step}.");
        if (attempt >= spec.MaxAttempts)
            return RetryDecision.Fail(spec.MaxAttempts == 1 ? failure.Message : $"{failure.Message} That was the last of {spec.MaxAttempts} attempts.");
        return new RetryDecision(true, $"{failure.Message} Attempt {attempt + 1} of {spec.MaxAttempts} follows.", Delay(attempt));
    }

    // The first retry comes at once: most crashes are a machine's, not the job's.
    private static TimeSpan Delay(int attempt) =>
        attempt == 1 ? TimeSpan.Zero : TimeSpan.FromSeconds(Math.Min(LongestDelay.TotalSeconds, Math.Pow(2, attempt - 2)));
}

/// <summary>Whether, why in one sentence, and how long to wait before.</summary>
internal sealed record RetryDecision(bool Retry, string Reason, TimeSpan Delay)
{
    public static RetryDecision Fail(string reason) => new(false, reason, TimeSpan.Zero);
}
