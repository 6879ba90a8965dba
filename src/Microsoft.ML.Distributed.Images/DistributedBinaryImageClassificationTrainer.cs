using Microsoft.ML.Data;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Distributed;

/// <summary>Trains a convolutional network that answers yes or no to images, on a cluster.</summary>
/// <remarks>
/// Made by <c>ml.BinaryClassification.Trainers.DistributedImageClassification</c>. Images are those of
/// <see cref="DistributedImageClassificationTrainer"/>. Output columns: Score, the logit; Probability, its sigmoid; and PredictedLabel, whether
/// the logit is above 0.
/// </remarks>
public sealed class DistributedBinaryImageClassificationTrainer : DistributedImageTrainer<BinaryPredictionTransformer<NeuralNetworkBinaryModel>>
{
    internal DistributedBinaryImageClassificationTrainer(IHostEnvironment environment, Options options)
        : base(environment, options)
    {
    }

    private protected override INetworkTrainer<BinaryPredictionTransformer<NeuralNetworkBinaryModel>> MakeTrainer(IHostEnvironment environment, ImageOptions options, ImageNetworkModule network) =>
        new DistributedBinaryTrainer(environment, options, network);

    /// <summary>Options of <see cref="DistributedBinaryImageClassificationTrainer"/>.</summary>
    public sealed class Options : ImageOptions;
}
