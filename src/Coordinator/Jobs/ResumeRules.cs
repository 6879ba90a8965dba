using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Jobs;

/// <summary>Decides whether a job can be resumed.</summary>
internal static class ResumeRules
{
    /// <summary>Why it cannot, in one sentence; null: it can.</summary>
    /// <param name="job">The job, as it stands.</param>
    /// <param name="isStored">Whether a file is in the store.</param>
    /// <param name="retention">How long checkpoints are kept.</param>
    /// <param name="checkpoints">Those of the job.</param>
    public static string? Refusal(JobSnapshot job, Func<ContentHash, bool> isStored, TimeSpan retention, IReadOnlyList<StoredCheckpoint> checkpoints) => job.State switch
    {
        JobState.Succeeded => $"Job \"{job.Id}\" succeeded, expected one that failed or was cancelled. Its model is there: attach to it, or download it.",
        not (JobState.Failed or JobState.Cancelled) => $"Job \"{job.Id}\" has not ended, expected one that failed or was cancelled. Attach to it, or cancel it first.",
        _ when checkpoints.Count == 0 => $"Job \"{job.Id}\" has no checkpoint to go on from: it ended before the first, asked for none, or ended more than {retention.TotalDays:0.##} days ago, which is how long they are kept. Submit it again.",
        _ when !isStored(checkpoints[0].Id) => $"The checkpoint of job \"{job.Id}\" is not in the store any more. Submit it again.",
        _ => null,
    };
}
