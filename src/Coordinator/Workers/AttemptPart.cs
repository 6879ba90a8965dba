using Google.Protobuf;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>What a worker has of an attempt. It holds its slots until the worker says that it ended, or is lost.</summary>
internal sealed class AttemptPart(AttemptEntry attempt, WorkerEntry worker, IReadOnlyList<int> slots, int firstRank)
{
    public AttemptEntry Attempt => attempt;
    public WorkerEntry Worker => worker;
    public IReadOnlyList<int> Slots => slots;
    public int FirstRank => firstRank;
    public OpaqueId Id => attempt.Id;
    public OpaqueId? JobId => attempt.JobId;
    public bool IsFirst => firstRank == 0;

    /// <summary>When the worker last spoke of it, by the coordinator's awake clock.</summary>
    public TimeSpan LastSign { get; set; }

    /// <summary>Of several workers: whether this one has all that it needs, and waits for the others.</summary>
    public bool IsReady { get; set; }

    /// <summary>Of several workers: whether the others were told where this one gives its data.</summary>
    public bool HasOffered { get; set; }

    /// <summary>Whether its ranks run.</summary>
    public bool HasStarted { get; set; }

    /// <summary>Whether the worker said that it ended, or will not.</summary>
    public bool HasEnded { get; set; }

    /// <summary>Why the coordinator gave it up, while it still holds its slots.</summary>
    public JobFailure? GivenUpFor { get; set; }

    /// <summary>Whether only the worker knows of it: it has no row, and no slot there is free, as nobody knows which it has.</summary>
    public bool IsForeign { get; init; }

    /// <summary>Since when the reconnected worker does not speak of it; null: all is well.</summary>
    public TimeSpan? MissingSince { get; set; }

    /// <summary>Lines and messages of progress that were too many, and not told of yet.</summary>
    public int Dropped { get; set; }

    public AttemptRow ToRow(DateTimeOffset? ended = null, string? outcome = null, JobFailure? failure = null) => new()
    {
        Id = Id.Text,
        JobId = JobId!.Text,
        Number = attempt.Number,
        WorkerId = worker.Id,
        Host = worker.Host,
        FirstRank = firstRank,
        Slots = string.Join(',', slots),
        StartedAt = attempt.Started,
        EndedAt = ended,
        Outcome = outcome,
        Failure = (failure ?? GivenUpFor)?.ToByteArray(),
    };
}
