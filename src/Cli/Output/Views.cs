using Google.Protobuf.WellKnownTypes;
using MLDistributed.Coordinator;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Output;

// What --json shows. Scripts rely on these names: fields are added, never renamed or removed. Epochs count from 1, times are UTC.

internal sealed record JobView(
    string Id, string Name, string State, string Reason, int Attempt, int MaxAttempts, DateTime? Submitted, DateTime? Started, DateTime? Ended,
    TaskView Task, DataView Data, ProgressView? Progress, ResultView? Result, FailureView? Failure, long? KeptStep, IReadOnlyList<HostView> Hosts)
{
    public static JobView Of(JobSnapshot job) => new(
        job.Id, job.Name, Words.Of(job.State), job.Reason, job.Attempt, (job.Spec ?? job.Outline)?.MaxAttempts ?? 0,
        Words.Time(job.Submitted)?.UtcDateTime, Words.Time(job.Started)?.UtcDateTime, Words.Time(job.Ended)?.UtcDateTime,
        TaskView.Of(job.Spec ?? job.Outline ?? new JobSpec()), DataView.Of((job.Spec ?? job.Outline)?.Data ?? new DataSpec()),
        job.Progress is null ? null : ProgressView.Of(job.Progress),
        job.Result is null ? null : ResultView.Of(job.Result),
        job.Failure is null ? null : FailureView.Of(job.Failure),
        job.KeptStep > 0 ? job.KeptStep : null,
        [.. job.Hosts.Select(h => new HostView(h.Host, h.Ranks))]);
}

internal sealed record HostView(string Host, int Ranks);

internal sealed record TaskView(string Kind, int InputSize, IReadOnlyList<int> HiddenSizes, int OutputSize, int Epochs, int BatchSize, ulong Seed, int Priority)
{
    public static TaskView Of(JobSpec spec) => new(
        spec.Task.ToString().ToLowerInvariant(), spec.Module?.Kind?.InputSize ?? 0, [.. spec.Module?.Mlp?.HiddenSizes ?? []], spec.Module?.Kind?.OutputSize ?? 0,
        spec.Epochs, spec.GlobalBatchSize, spec.Seed, spec.Priority);
}

internal sealed record DataView(string DatasetId, long RowCount, string? ValidationDatasetId, double ValidationFraction)
{
    public static DataView Of(DataSpec data) =>
        new(data.DatasetId, data.RowCount, data.ValidationDatasetId.Length > 0 ? data.ValidationDatasetId : null, data.ValidationFraction);
}

internal sealed record ProgressView(int Epoch, long Step, long TotalSteps, double Loss, double LearningRate, double RowsPerSecond)
{
    public static ProgressView Of(Progress progress) =>
        new(Words.Epoch(progress.Epoch), progress.Step, progress.TotalSteps, progress.Loss, progress.LearningRate, progress.RowsPerSecond);
}

internal sealed record ResultView(
    int Epochs, int BestEpoch, long Steps, int WorldSize, double TrainingSeconds, double TrainingLoss, double? ValidationLoss,
    IReadOnlyList<EpochView> History, IReadOnlyList<ArtifactView> Artifacts)
{
    public static ResultView Of(JobResult result) => new(
        result.Epochs, Words.Epoch(result.BestEpoch), result.Steps, result.WorldSize, result.TrainingSeconds,
        result.TrainingLoss, result.HasValidationLoss ? result.ValidationLoss : null,
        [.. result.History.Select(EpochView.Of)],
        [.. result.Artifacts.OrderBy(a => a.Key, StringComparer.Ordinal).Select(a => new ArtifactView(a.Key, a.Value.SizeBytes, a.Value.Id))]);
}

internal sealed record EpochView(int Epoch, double TrainingLoss, double? ValidationLoss, bool IsBest, double Seconds, IReadOnlyDictionary<string, double> TrainingMetrics, IReadOnlyDictionary<string, double> ValidationMetrics)
{
    public static EpochView Of(EpochEnded epoch) =>
        new(Words.Epoch(epoch.Epoch), epoch.TrainingLoss, epoch.HasValidationLoss ? epoch.ValidationLoss : null, epoch.IsBest, epoch.Seconds, MetricNames.OfTraining(epoch), MetricNames.OfValidation(epoch));
}

internal sealed record ArtifactView(string Name, long SizeBytes, string Sha256);

internal sealed record FailureView(string Kind, string Message, int? Rank, string? Host, int ExitCode, long Step, IReadOnlyList<string> LastWords)
{
    public static FailureView Of(JobFailure failure) => new(
        failure.Kind.ToString().ToLowerInvariant(), failure.Message, failure.Rank < 0 ? null : failure.Rank, failure.Host.Length > 0 ? failure.Host : null,
        failure.ExitCode, failure.Step, [.. failure.LastWords]);
}

/// <summary>An event of a job: of state, epoch, log and progress the one that is not null.</summary>
internal sealed record EventView(long Sequence, DateTime? Time, int Attempt, StateView? State, EpochView? Epoch, LogView? Log, ProgressView? Progress)
{
    public static EventView Of(JobEvent item) => new(
        item.Sequence, Words.Time(item.Time)?.UtcDateTime, item.Attempt,
        item.State is { } state ? new StateView(Words.Of(state.State), state.Reason, state.WorldSize, state.Failure is null ? null : FailureView.Of(state.Failure)) : null,
        item.Epoch is { } epoch ? EpochView.Of(epoch) : null,
        item.Log is { } log ? new LogView(log.Level.ToString().ToLowerInvariant(), log.Source, log.Message) : null,
        item.Progress is { } progress ? ProgressView.Of(progress) : null);
}

internal sealed record StateView(string State, string Reason, int WorldSize, FailureView? Failure);

internal sealed record LogView(string Level, string Source, string Message);

internal sealed record DatasetView(string Id, long RowCount, long SizeBytes, DateTime? Sent)
{
    public static DatasetView Of(DatasetSnapshot dataset) => new(dataset.Id, dataset.RowCount, dataset.SizeBytes, Words.Time(dataset.Sent)?.UtcDateTime);
}

internal sealed record ClusterView(string Version, int QueuedJobs, int RunningJobs, IReadOnlyList<WorkerView> Workers)
{
    public static ClusterView Of(ClusterSnapshot cluster) => new(cluster.Version, cluster.QueuedJobs, cluster.RunningJobs, [.. cluster.Workers.Select(WorkerView.Of)]);
}

internal sealed record WorkerView(string Id, string Host, string Status, IReadOnlyList<DeviceView> Devices, NetworkView? Network, CordonView? Cordon)
{
    public static WorkerView Of(WorkerSnapshot worker) =>
        new(worker.Id, worker.Host, worker.Status, [.. worker.Devices.Select(DeviceView.Of)], worker.Network is { } network ? NetworkView.Of(network) : null, worker.Cordon is { } cordon ? CordonView.Of(cordon) : null);
}

/// <summary>Why a worker gets no jobs, or few; secondsLeft is null where an operator ends it.</summary>
internal sealed record CordonView(string Reason, bool IsByHand, double? SecondsLeft)
{
    public static CordonView Of(WorkerCordon cordon) => new(cordon.Reason, cordon.IsByHand, cordon.IsByHand ? null : cordon.SecondsLeft);
}

internal sealed record NetworkView(string Interface, string Address, string Mpi, string? Nccl, string? Fault)
{
    public static NetworkView Of(Network network) => new(network.Interface, network.Address, network.Mpi, network.Nccl.Length > 0 ? network.Nccl : null, network.Fault.Length > 0 ? network.Fault : network.NcclFault.Length > 0 ? network.NcclFault : null);
}

internal sealed record DeviceView(int Slot, string Kind, int Index, string Name, double Utilization, long? MemoryBytes, long? MemoryUsedBytes, string? Fault)
{
    public static DeviceView Of(Device device) => new(
        device.Slot, Words.Of(device.Kind), device.Index, device.Name, device.Utilization,
        device.MemoryBytes > 0 ? device.MemoryBytes : null, device.MemoryBytes > 0 ? device.MemoryUsedBytes : null, device.Fault.Length > 0 ? device.Fault : null);
}

internal sealed record KeyView(string Id, string Name, string Tenant, IReadOnlyList<string> Scopes, int MaxPriority, DateTime Created, DateTime? Revoked)
{
    public static KeyView Of(ApiKeyInfo key) => new(
        key.Id, key.Name, key.Tenant, [.. key.Scopes.ToString().ToLowerInvariant().Split(", ")], key.MaxPriority, key.Created.UtcDateTime, key.Revoked?.UtcDateTime);
}

/// <summary>The secret, which cannot be shown again.</summary>
internal sealed record NewKeyView(string Key);

internal sealed record RevokedView(string Id);

internal sealed record BackupView(long Files, long NewFiles, long NewBytes);

/// <summary>Workers as a job of Slurm; null where the script was only written.</summary>
internal sealed record SlurmView(string? JobId, int Workers, string ScriptPath, string Script);

internal sealed record LibtorchView(string Folder, string Version, bool IsFetched);

internal sealed record DownloadView(string JobId, string Folder, IReadOnlyList<ArtifactView> Files);
