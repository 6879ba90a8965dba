using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cordons;

/// <summary>Why jobs are not placed on a worker, though it is there.</summary>
/// <param name="Reason">As in "2 of the last 2 attempts on it failed".</param>
/// <param name="Until">When it ends, by the coordinator's awake clock; null: an operator made it, and ends it.</param>
/// <param name="Failures">What it was made for; none: an operator made it.</param>
internal sealed record Cordon(string Reason, TimeSpan? Until, IReadOnlyList<AttemptOutcome> Failures)
{
    public bool IsByHand => Until is null;

    public WorkerCordon ToSnapshot(TimeSpan now) =>
        new() { Reason = Reason, IsByHand = IsByHand, SecondsLeft = Math.Max(0, (Until - now)?.TotalSeconds ?? 0) };
}

/// <summary>How a worker's part of an attempt ended, where that says something of the worker.</summary>
/// <param name="Time">By the coordinator's awake clock.</param>
/// <param name="WorkerId">The worker.</param>
/// <param name="JobId">Whose attempt it was.</param>
/// <param name="Kind">How it ended.</param>
internal sealed record AttemptOutcome(TimeSpan Time, string WorkerId, OpaqueId JobId, OutcomeKind Kind);

/// <summary>How an attempt ended on a worker.</summary>
internal enum OutcomeKind
{
    /// <summary>It did its part.</summary>
    Well,

    /// <summary>A process ended, or made no step: of the worker, or of what the job has it run.</summary>
    Crashed,

    /// <summary>The agent, the machine or its network was gone: nothing that a job does.</summary>
    Lost,
}
