namespace MLDistributed.Coordinator.Store;

internal sealed class JobRow
{
    public required string Id { get; set; }
    public required long Number { get; set; }
    public required string Name { get; set; }
    public required string Tenant { get; set; }
    public required string? RequestId { get; set; }
    public required int State { get; set; }
    public required string Reason { get; set; }
    public required int Attempt { get; set; }
    public required DateTimeOffset SubmittedAt { get; set; }
    public DateTimeOffset? StartedAt { get; set; }
    public DateTimeOffset? EndedAt { get; set; }

    /// <summary>The specification, less what grows with the data.</summary>
    public required byte[] Spec { get; set; }

    /// <summary>The result, less its history.</summary>
    public byte[]? Result { get; set; }
    public byte[]? Failure { get; set; }

    /// <summary>As <see cref="Jobs.StoredCheckpoint"/> writes them.</summary>
    public required string Checkpoints { get; set; }

    /// <summary>The files that the job's workers stored last, which are what they may name as its checkpoints and results: ids with spaces between.</summary>
    public required string Files { get; set; }

    /// <summary>Why it is being, or was, cancelled.</summary>
    public string? CancelReason { get; set; }
}

/// <summary>What is large of a job, written once: neither a list nor a change of state touches it.</summary>
internal sealed class JobDocumentRow
{
    public required string JobId { get; set; }
    public required JobDocument Kind { get; set; }
    public required byte[] Content { get; set; }
}

internal enum JobDocument { Spec, Result }

internal sealed class JobTransitionRow
{
    public required string JobId { get; set; }
    public required long Sequence { get; set; }
    public required DateTimeOffset Time { get; set; }
    public required int State { get; set; }
    public required int Attempt { get; set; }
    public required string Reason { get; set; }
}

internal sealed class JobEventRow
{
    public required string JobId { get; set; }
    public required long Sequence { get; set; }

    /// <summary>Progress and log lines: only the latest are kept.</summary>
    public required bool Transient { get; set; }
    public required byte[] Event { get; set; }
}

/// <summary>What a worker had of an attempt of a job.</summary>
internal sealed class AttemptRow
{
    public required string Id { get; set; }
    public required string JobId { get; set; }
    public required int Number { get; set; }
    public required string WorkerId { get; set; }
    public required string Host { get; set; }
    public required int FirstRank { get; set; }
    public required string Slots { get; set; }
    public required DateTimeOffset StartedAt { get; set; }
    public DateTimeOffset? EndedAt { get; set; }
    public string? Outcome { get; set; }
    public byte[]? Failure { get; set; }
}

internal sealed class DatasetRow
{
    public required string Id { get; set; }
    public required string Tenant { get; set; }
    public required long RowCount { get; set; }
    public required long SizeBytes { get; set; }
    public required DateTimeOffset CreatedAt { get; set; }
    public required DateTimeOffset UsedAt { get; set; }
}

internal sealed class BlobRow
{
    public required string Id { get; set; }
    public required long SizeBytes { get; set; }
    public required DateTimeOffset CreatedAt { get; set; }
    public required DateTimeOffset UsedAt { get; set; }
}

/// <summary>A tenant that sent a dataset, or whose job made a model.</summary>
internal sealed class OwnerRow
{
    public required string FileId { get; set; }
    public required string Tenant { get; set; }

    /// <summary>Its own time: that of the file would tell when another tenant sent the same.</summary>
    public required DateTimeOffset Since { get; set; }
}

internal sealed class ApiKeyRow
{
    public required string Id { get; set; }
    public required byte[] Hash { get; set; }
    public required string Name { get; set; }
    public required string Tenant { get; set; }
    public required int Scopes { get; set; }

    /// <summary>The highest priority that jobs may be submitted with.</summary>
    public required int MaxPriority { get; set; }
    public required DateTimeOffset CreatedAt { get; set; }
    public DateTimeOffset? RevokedAt { get; set; }
}

internal sealed class JoinTokenRow
{
    public required byte[] Hash { get; set; }
    public required DateTimeOffset CreatedAt { get; set; }
    public required DateTimeOffset ExpiresAt { get; set; }
    public DateTimeOffset? UsedAt { get; set; }
}

internal sealed class WorkerRow
{
    public required string Id { get; set; }
    public required string Host { get; set; }
    public required byte[] CredentialHash { get; set; }
    public required DateTimeOffset JoinedAt { get; set; }
    public DateTimeOffset? RevokedAt { get; set; }
}

/// <summary>A worker that an operator keeps jobs away from.</summary>
internal sealed class CordonRow
{
    public required string WorkerId { get; set; }
    public required string Reason { get; set; }
    public required DateTimeOffset Since { get; set; }
}

/// <summary>One start of a coordinator on this database; its id fences the worker sessions of earlier ones.</summary>
internal sealed class StartRow
{
    public long Id { get; set; }
    public required DateTimeOffset Time { get; set; }

    /// <summary>How many transactions of the journal it has committed: compared with <see cref="CommitMark"/> at the next start.</summary>
    public required long Commits { get; set; }
}
