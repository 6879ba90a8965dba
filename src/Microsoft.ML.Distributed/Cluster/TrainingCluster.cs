using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A coordinator and its workers, on which trainers run their jobs.</summary>
public sealed class TrainingCluster : IDisposable
{
    /// <summary>A new path that a dataset may be encoded to, on the file system where the cluster can take it over.</summary>
    internal string NewDatasetFile() => throw new NotImplementedException();

    /// <summary>Sends what the cluster lacks, runs the job, and returns when its model is here.</summary>
    internal TrainedJob Train(JobSpec spec, EncodedDataset training, EncodedDataset? validation, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation) =>
        throw new NotImplementedException();

    /// <inheritdoc/>
    public void Dispose() => throw new NotImplementedException();
}
