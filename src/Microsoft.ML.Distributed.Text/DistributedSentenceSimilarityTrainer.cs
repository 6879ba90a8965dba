using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains an encoder of pairs of texts that predicts a number, such as how much they say the same, on a cluster.</summary>
/// <remarks>Made by <c>ml.Regression.Trainers.DistributedSentenceSimilarity</c>. Output column: Score. The model is the same on any number of ranks, up to rounding.</remarks>
public sealed class DistributedSentenceSimilarityTrainer : DistributedTextTrainer
{
    internal DistributedSentenceSimilarityTrainer(IHostEnvironment environment, Options options)
        : base(environment, options, options.Training)
    {
    }

    private protected override MlTask Task => MlTask.Regression;

    private protected override INetworkTrainer<ITransformer> MakeTrainer(NeuralNetworkOptions options, TextNetwork network) =>
        new DistributedRegressionTrainer(Environment, options, network);

    /// <summary>Options of <see cref="DistributedSentenceSimilarityTrainer"/>.</summary>
    public sealed class Options : TextOptions
    {
        /// <summary>Makes options with their defaults.</summary>
        public Options() => Sentence2ColumnName = "Sentence2";

        /// <summary>How the encoder is trained, on what, and the label column; what describes the built-in network is left alone.</summary>
        /// <value>10 epochs of 32 rows a step, WeightDecay 0.01, GradientClipNorm 1. A LearningRate of 0, which it is: 5e-5 to fine-tune weights, else 1e-3.</value>
        public DistributedRegressionTrainer.Options Training { get; } = new() { Epochs = DefaultEpochs, BatchSize = DefaultBatchSize, LearningRate = 0, WeightDecay = DefaultWeightDecay, GradientClipNorm = DefaultClipNorm };
    }
}
