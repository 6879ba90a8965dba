using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What a trainer needs of a cluster; tests put their own in its place.</summary>
internal interface ITrainingBackend
{
    /// <summary>A new path that a dataset may be encoded to.</summary>
    /// <param name="folder">Where the user wants it; null: where the cluster takes it over without a copy.</param>
    /// <param name="cancellation">Ends the look for the cluster.</param>
    string NewDatasetFile(string? folder = null, CancellationToken cancellation = default);

    /// <summary>Sends what the cluster lacks, runs the job, and returns when its model is here.</summary>
    TrainedJob Train(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation);

    /// <summary>Sends what the cluster lacks, and returns the id of the job as soon as the cluster has it.</summary>
    string Submit(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation);
}

/// <summary>What a job reads.</summary>
/// <param name="Training">The training rows.</param>
/// <param name="Validation">The validation rows; null: none of their own.</param>
internal sealed record JobInputs(EncodedDataset Training, EncodedDataset? Validation = null)
{
    /// <summary>What else the job's specification names by its content.</summary>
    public IReadOnlyList<JobFile> Files { get; init; } = [];

    // A data set alone is the usual case.
    public static implicit operator JobInputs(EncodedDataset training) => new(training);
}
