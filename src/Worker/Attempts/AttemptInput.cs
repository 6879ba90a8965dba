using MLDistributed.Protocol;

namespace MLDistributed.Worker.Attempts;

/// <summary>What an attempt hears.</summary>
internal abstract record AttemptInput
{
    /// <summary>Dataset and checkpoint are on this machine.</summary>
    public sealed record FilesReady : AttemptInput;

    public sealed record FilesFailed(JobFailure Failure, bool IsBystander = false) : AttemptInput;

    /// <summary>The process of this rank has libtorch loaded and is free.</summary>
    public sealed record RankReady(int Rank) : AttemptInput;

    /// <summary>All workers of the attempt are ready.</summary>
    public sealed record Begun : AttemptInput;

    public sealed record RankStarted(int Rank) : AttemptInput;

    public sealed record RankFinished(int Rank, JobResult? Result, IReadOnlyDictionary<string, string> Files) : AttemptInput;

    public sealed record RankFailed(int Rank, JobFailure Failure, bool IsBystander) : AttemptInput;

    public sealed record RankStopped(int Rank) : AttemptInput;

    /// <summary>The process ended.</summary>
    public sealed record RankExited(int Rank, JobFailure Failure) : AttemptInput;

    /// <summary>By the coordinator.</summary>
    public sealed record StopRequested(string Reason) : AttemptInput;

    public sealed record StopDeadline : AttemptInput;

    public sealed record Uploaded(JobResult Result) : AttemptInput;

    public sealed record UploadFailed(JobFailure Failure) : AttemptInput;
}

/// <summary>What an attempt wants done.</summary>
internal abstract record AttemptAction
{
    /// <summary>Tell the coordinator that this worker waits for the others.</summary>
    public sealed record ReportReady : AttemptAction;

    public sealed record StartRanks : AttemptAction;

    public sealed record ReportStarted : AttemptAction;

    /// <summary>Ask these to stop, and send <see cref="AttemptInput.StopDeadline"/> after a while.</summary>
    public sealed record StopRanks(IReadOnlyList<int> Ranks, string Reason) : AttemptAction;

    public sealed record KillRanks(IReadOnlyList<int> Ranks) : AttemptAction;

    public sealed record Upload(JobResult Result, IReadOnlyDictionary<string, string> Files) : AttemptAction;

    public sealed record End(AttemptEnded Report) : AttemptAction;
}
