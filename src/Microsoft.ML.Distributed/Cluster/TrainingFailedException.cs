using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A training ended without a model. Names the earliest failure, not what followed from it.</summary>
public sealed class TrainingFailedException : Exception
{
    internal TrainingFailedException(string jobId, string reason, JobFailure? failure)
        : base(Describe(jobId, reason, failure))
    {
        JobId = jobId;
        IsDatasetLost = failure?.Kind == FailureKind.DatasetLost;
        IsTrainings = failure?.Kind == FailureKind.Training;
        Rank = failure is { Rank: >= 0 } ? failure.Rank : null;
        Host = failure?.Host is { Length: > 0 } host ? VisibleText.Of(host) : null;
        ExitCode = failure is { ExitCode: not 0 } ? failure.ExitCode : null;
        Step = failure?.Step ?? 0;
        LastWords = failure is null ? [] : [.. failure.LastWords.Select(VisibleText.Of)];
    }

    /// <summary>The job's id on the cluster.</summary>
    public string JobId { get; }

    /// <summary>The cluster has the data no more, or damaged: sent again, the same training may succeed.</summary>
    internal bool IsDatasetLost { get; }

    /// <summary>The training itself could not go on: its loss or its weights were no numbers any more.</summary>
    internal bool IsTrainings { get; }

    /// <summary>The rank that failed first; null when no rank did.</summary>
    public int? Rank { get; }

    /// <summary>The machine it ran on.</summary>
    public string? Host { get; }

    /// <summary>How its process ended, 128 + n for signal n; null when it did not end.</summary>
    public int? ExitCode { get; }

    /// <summary>The step, from 1, at which it failed, or that the rank had begun when its process died; 0: none.</summary>
    public long Step { get; }

    /// <summary>The last lines that it wrote to its standard error.</summary>
    public IReadOnlyList<string> LastWords { get; }

    private static string Describe(string jobId, string reason, JobFailure? failure)
    {
        // The reason may say more than the failure that it quotes.
        var message = failure?.Message is { Length: > 0 } sentence && !reason.StartsWith(sentence.TrimEnd('.'), StringComparison.Ordinal) ? sentence : reason;
        if (message.Length == 0)
            message = $"Job {jobId} failed and its coordinator does not say why. Look at the coordinator's log.";
        message = string.Join(Environment.NewLine, VisibleText.Lines(message)); // which hang already: JobRun has made them visible
        return failure is { LastWords.Count: > 0 }
            ? $"{message}{Environment.NewLine}Last words of {(failure.Rank < 0 ? "the worker" : $"rank {failure.Rank}")} on {VisibleText.Of(failure.Host)}:{Environment.NewLine}  {string.Join(Environment.NewLine + "  ", failure.LastWords.Select(VisibleText.Of))}"
            : message;
    }
}
