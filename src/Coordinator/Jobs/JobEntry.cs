using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using MLDistributed.Coordinator.Retries;
using MLDistributed.Coordinator.Scheduling;
using MLDistributed.Coordinator.Store;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Jobs;

/// <summary>A job as it lives on the event loop.</summary>
internal sealed class JobEntry
{
    public required OpaqueId Id { get; init; }
    public required long Number { get; init; }
    public required string Tenant { get; init; }
    public required string? RequestId { get; set; }

    /// <summary>The specification, less what grows with the data: <see cref="OutlineOf"/>.</summary>
    public required JobSpec Spec { get; init; }

    /// <summary>All of it, until it is written; from then on the database has it.</summary>
    public JobSpec? WholeSpec { get; set; }
    public required DateTimeOffset Submitted { get; init; }

    public JobState State { get; set; }
    public string Reason { get; set; } = "";
    public int Attempt { get; set; } = 1;
    public DateTimeOffset? Started { get; set; }
    public DateTimeOffset? Ended { get; set; }
    public JobResult? Result { get; set; }
    public JobFailure? Failure { get; set; }
    public Progress? Progress { get; set; }

    /// <summary>Newest first: the next attempt goes on from the first, and from the one behind it when that is damaged.</summary>
    public IReadOnlyList<StoredCheckpoint> Checkpoints { get; set; } = [];

    /// <summary>The files that the job's workers stored, the latest last: what they may name, and fetch again.</summary>
    public IReadOnlyList<ContentHash> Files { get; set; } = [];

    /// <summary>The last epoch that an attempt told: workers repeat themselves after an outage.</summary>
    public (int Attempt, int Epoch) LastEpoch { get; set; } = (0, -1);

    /// <summary>What ended the last attempts, the latest last.</summary>
    public List<JobFailure> EarlierFailures { get; } = [];

    /// <summary>The attempt on a worker; null while the job waits for one.</summary>
    public AttemptEntry? Current { get; set; }

    /// <summary>The next attempt is not placed earlier, by the coordinator's awake clock; so are the times below.</summary>
    public TimeSpan NotBefore { get; set; }

    /// <summary>Why it is being cancelled; null when it is not.</summary>
    public string? CancelReason { get; set; }
    public TimeSpan CancelDeadline { get; set; }

    public int Watchers { get; set; }
    public TimeSpan UnwatchedSince { get; set; }

    /// <summary>Since when it waits though no connected worker could ever hold it; null: one could.</summary>
    public TimeSpan? UnplaceableSince { get; set; }

    public long LastSequence { get; set; }

    /// <summary>The progress and log events that are kept.</summary>
    public TransientEvents Transient { get; } = new();
    public JobFeed Feed { get; } = new();

    public bool IsFinal => JobStates.IsFinal(State);

    /// <summary>Waits for a worker.</summary>
    public bool IsPending => Current is null && CancelReason is null && State is (JobState.Queued or JobState.Recovering);

    public PendingJob ToPending()
    {
        var resources = Spec.Resources ?? new ResourceSpec();
        return new PendingJob(Id, Spec.Name, Number, Spec.Priority, resources.Device, Math.Max(1, resources.MinRanks), resources.MaxRanks)
        {
            Placement = resources.Placement,
            MinPerWorker = Math.Max(1, resources.MinRanksPerWorker),
            MaxPerWorker = resources.MaxRanksPerWorker,
            MixesModels = resources.MixedDevices,
            NotBefore = NotBefore,
            Tenant = Tenant,
            BackoffReason = Reason,
        };
    }

    public void Remember(JobFailure failure)
    {
        EarlierFailures.Add(failure);
        if (EarlierFailures.Count > RetryPolicy.FailuresRemembered)
            EarlierFailures.RemoveAt(0);
    }

    public JobSnapshot ToSnapshot() => new()
    {
        Id = Id.Text,
        Name = Spec.Name,
        State = State,
        Reason = Reason,
        Attempt = Attempt,
        Submitted = Submitted.ToTimestamp(),
        Started = Started?.ToTimestamp(),
        Ended = Ended?.ToTimestamp(),
        Result = Result,
        Failure = Failure,
        Spec = WholeSpec,
        Outline = Spec,
        Progress = Progress,
        KeptStep = IsFinal ? Checkpoints.FirstOrDefault()?.Step ?? 0 : 0,
        Hosts = { Current?.Participants() ?? [] },
    };

    /// <summary>As a list shows it: nothing that grows with the data, or with the time of training.</summary>
    public JobSnapshot ToSummary()
    {
        var summary = ToSnapshot();
        summary.Spec = null;
        summary.Result = WithoutHistory(Result);
        if (summary.Progress is { Recent.Count: > 0 })
            (summary.Progress = summary.Progress.Clone()).Recent.Clear();
        return summary;
    }

    public static JobSpec OutlineOf(JobSpec spec)
    {
        var features = spec.Data.Features;
        spec.Data.Features = null; // megabytes that need no copy
        var outline = spec.Clone();
        spec.Data.Features = features;
        outline.ClassWeights.Clear();
        outline.ModelSchema = ByteString.Empty;
        outline.Module.Mlp?.OutputBias.Clear();
        outline.Module.Text?.OutputBias.Clear();
        if (outline.Module.Torch is { } torch)
            torch.Options = "";
        return outline;
    }

    public JobRow ToRow() => new()
    {
        Id = Id.Text,
        Number = Number,
        Name = Spec.Name,
        Tenant = Tenant,
        RequestId = RequestId,
        State = (int)State,
        Reason = Reason,
        Attempt = Attempt,
        SubmittedAt = Submitted,
        StartedAt = Started,
        EndedAt = Ended,
        Spec = Spec.ToByteArray(),
        Result = WithoutHistory(Result)?.ToByteArray(),
        Failure = Failure?.ToByteArray(),
        Checkpoints = StoredCheckpoint.ToText(Checkpoints),
        Files = string.Join(' ', Files),
        CancelReason = CancelReason,
    };

    /// <summary>A job as it was stored, less what is large of it.</summary>
    /// <exception cref="DamagedRowException">It cannot be read.</exception>
    public static JobEntry FromRow(JobRow row) => DamagedRowException.Read("Job", row.Id, () => Parse(row));

    private static JobEntry Parse(JobRow row) => new()
    {
        Id = OpaqueId.Parse(row.Id),
        Number = row.Number,
        Tenant = row.Tenant,
        RequestId = row.RequestId,
        Spec = ParseSpec(row.Spec),
        Submitted = row.SubmittedAt,
        State = (JobState)row.State,
        Reason = row.Reason,
        Attempt = row.Attempt,
        Started = row.StartedAt,
        Ended = row.EndedAt,
        Result = row.Result is { } made ? JobResult.Parser.ParseFrom(made) : null,
        Failure = row.Failure is null ? null : JobFailure.Parser.ParseFrom(row.Failure),
        Checkpoints = StoredCheckpoint.Parse(row.Checkpoints),
        Files = [.. row.Files.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(ContentHash.Parse)],
        CancelReason = row.CancelReason,
    };

    // With ids that are some: whoever keeps and sends its files takes them from here.
    private static JobSpec ParseSpec(byte[] stored)
    {
        var spec = JobSpec.Parser.ParseFrom(stored);
        _ = spec.FrameId;
        return spec.DatasetIds.Concat(spec.FileIds).Any() ? spec : throw new FormatException("it names no data");
    }

    private static JobResult? WithoutHistory(JobResult? result)
    {
        if (result is not { History.Count: > 0 })
            return result;
        var summary = result.Clone();
        summary.History.Clear();
        return summary;
    }
}
