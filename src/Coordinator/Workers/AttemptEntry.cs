using Google.Protobuf;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>An attempt of a job on a worker. It holds its slots until the worker says that it ended, or is lost.</summary>
internal sealed class AttemptEntry
{
    public required string Id { get; init; }
    public required string JobId { get; init; }
    public required int Number { get; init; }
    public required WorkerEntry Worker { get; init; }
    public required IReadOnlyList<int> Slots { get; init; }
    public required DateTimeOffset Started { get; init; }

    /// <summary>When the worker last spoke of it, by the coordinator's awake clock.</summary>
    public TimeSpan LastSign { get; set; }

    /// <summary>Why the coordinator gave it up, while it still holds its slots.</summary>
    public JobFailure? GivenUpFor { get; set; }

    /// <summary>Whether it was given up because its worker was silent: that was never told to stop it, and may come back with it.</summary>
    public bool MayComeBack { get; set; }

    /// <summary>Whether its worker can tell of it.</summary>
    public bool IsConnected => Worker.IsConnected;

    /// <summary>Whether only the worker knows of it: it has no row, and holds all slots, as nobody knows which.</summary>
    public bool IsForeign { get; init; }

    /// <summary>Since when the reconnected worker does not speak of it; null: all is well.</summary>
    public TimeSpan? MissingSince { get; set; }

    /// <summary>Lines and messages of progress that were too many, and not told of yet.</summary>
    public int Dropped { get; set; }

    public AttemptRow ToRow(DateTimeOffset? ended = null, string? outcome = null, JobFailure? failure = null) => new()
    {
        Id = Id,
        JobId = JobId,
        Number = Number,
        WorkerId = Worker.Id,
        Host = Worker.Host,
        Slots = string.Join(',', Slots),
        StartedAt = Started,
        EndedAt = ended,
        Outcome = outcome,
        Failure = (failure ?? GivenUpFor)?.ToByteArray(),
    };
}
