namespace Microsoft.ML.Distributed;

/// <summary>A job that goes on without this app. Its id is all that another process needs.</summary>
/// <remarks>Made by <c>TrainingCluster.SubmitAsync</c> and <see cref="TrainingCluster.ResumeAsync"/>.</remarks>
public sealed class TrainingJob
{
    private readonly TrainingCluster _cluster;

    internal TrainingJob(TrainingCluster cluster, string id) => (_cluster, Id) = (cluster, id);

    /// <summary>What <see cref="TrainingCluster.AttachAsync"/>, <see cref="TrainingCluster.ResumeAsync"/> and <c>mldist</c> take.</summary>
    public string Id { get; }

    /// <summary>Waits for the job and returns its transformer: <see cref="TrainingCluster.AttachAsync"/>.</summary>
    /// <inheritdoc cref="TrainingCluster.AttachAsync"/>
    public Task<ITransformer> WaitAsync(MLContext? ml = null, IProgress<TrainingProgress>? progress = null, CancellationToken cancellation = default) =>
        _cluster.AttachAsync(Id, ml, progress, cancellation);

    /// <summary>Ends the job. Returns when its ranks are stopped, or at once when it had ended. Its last checkpoint is kept, so that it can be resumed.</summary>
    /// <param name="reason">For those who ask later.</param>
    /// <param name="cancellation">Ends the call.</param>
    /// <exception cref="ClusterException">The coordinator cannot be reached.</exception>
    public Task CancelAsync(string reason = "cancelled by its app", CancellationToken cancellation = default) => _cluster.CancelJobAsync(Id, reason, cancellation);

    /// <summary>The id.</summary>
    public override string ToString() => Id;
}
