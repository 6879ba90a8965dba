using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A coordinator and its workers, on which trainers run their jobs.</summary>
public sealed class TrainingCluster : ITrainingBackend, IDisposable
{
    internal static TrainingCluster Automatic => throw new NotImplementedException();

    internal static TrainingCluster? FromEnvironment() => null;

    string ITrainingBackend.NewDatasetFile() => throw new NotImplementedException();

    TrainedJob ITrainingBackend.Train(JobSpec spec, EncodedDataset training, EncodedDataset? validation, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation) =>
        throw new NotImplementedException();

    /// <inheritdoc/>
    public void Dispose() => throw new NotImplementedException();
}
