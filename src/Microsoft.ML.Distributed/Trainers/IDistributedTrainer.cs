namespace Microsoft.ML.Distributed;

/// <summary>A trainer whose job can go on without its app: each trainer of this library, by <see cref="TrainingCluster.SubmitAsync"/>.</summary>
public interface IDistributedTrainer
{
    /// <summary>Encodes and sends the data, and returns the id of a job that goes on without this app.</summary>
    internal string Submit(TrainingCluster cluster, IDataView input, CancellationToken cancellation);
}

/// <summary>A trainer of a network that may stand within a larger transformer.</summary>
/// <typeparam name="TTransformer">What it returns by itself.</typeparam>
internal interface INetworkTrainer<out TTransformer> : IDistributedTrainer, IEstimator<TTransformer>
    where TTransformer : ITransformer
{
    /// <summary>What stands around the network, for its job to keep.</summary>
    ModelFrame? Frame { set; }

    /// <summary>Trains for a while with a learning rate that rises in every step.</summary>
    LearningRateCurve FindLearningRate(IDataView input, double from, double to, int steps);
}
