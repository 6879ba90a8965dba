using System.Runtime.ExceptionServices;
using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed;

/// <summary>A trainer, the data as it sees it, and what is to stand around its network.</summary>
/// <typeparam name="TTransformer">What the trainer returns by itself.</typeparam>
internal sealed class FramedTraining<TTransformer>
    where TTransformer : class, ITransformer
{
    private readonly INetworkTrainer<TTransformer> _trainer;
    private readonly PredictionFrame _frame;
    private readonly IDataView _data;

    public FramedTraining(INetworkTrainer<TTransformer> trainer, PredictionFrame frame, IDataView data)
    {
        (_trainer, _frame, _data) = (trainer, frame, data);
        trainer.Frame = frame;
    }

    /// <summary>Trains, and returns the chain of it all.</summary>
    public TransformerChain<TTransformer> Fit() => (TransformerChain<TTransformer>)_frame.Around(Unwrapped(() => _trainer.Fit(_data)));

    /// <summary>Encodes and sends the data, and returns the id of a job whose transformer is that chain.</summary>
    public string Submit(TrainingCluster cluster, CancellationToken cancellation) => Unwrapped(() => _trainer.Submit(cluster, _data, cancellation));

    /// <summary>Trains for a while with a learning rate that rises in every step.</summary>
    public LearningRateCurve FindLearningRate(double from, double to, int steps) => Unwrapped(() => _trainer.FindLearningRate(_data, from, to, steps));

    private static T Unwrapped<T>(Func<T> call)
    {
        try
        {
            return call();
        }
        catch (InvalidOperationException e) when (e.InnerException is InvalidDataException)
        {
            // From one of ML.NET's threads that read ahead.
            ExceptionDispatchInfo.Throw(e.InnerException);
            throw;
        }
    }
}
