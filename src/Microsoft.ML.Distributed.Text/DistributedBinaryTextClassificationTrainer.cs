using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains an encoder of texts, or of pairs of texts, that answers yes or no, on a cluster.</summary>
/// <remarks>
/// Made by <c>ml.BinaryClassification.Trainers.DistributedTextClassification</c>. Output columns: Score, the logit; Probability, its sigmoid; and
/// PredictedLabel, whether the logit is above 0. The model is the same on any number of ranks, up to rounding.
/// </remarks>
public sealed class DistributedBinaryTextClassificationTrainer : DistributedTextTrainer
{
    private readonly Options _options;

    internal DistributedBinaryTextClassificationTrainer(IHostEnvironment environment, Options options)
        : base(environment, options, options.Training) => _options = options;

    private protected override MlTask Task => MlTask.Binary;

    private protected override INetworkTrainer<ITransformer> MakeTrainer(NeuralNetworkOptions options, TextNetwork network) => new DistributedBinaryTrainer(Environment, options, network);

    private protected override IEnumerable<(string From, string To)> Outputs() =>
    [
        .. base.Outputs(),
        (DefaultColumnNames.Probability, _options.ProbabilityColumnName),
        (DefaultColumnNames.PredictedLabel, _options.OutputColumnName),
    ];

    /// <summary>Options of <see cref="DistributedBinaryTextClassificationTrainer"/>.</summary>
    public sealed class Options : TextOptions
    {
        /// <summary>The output column of predicted labels.</summary>
        /// <value>"PredictedLabel"</value>
        public string OutputColumnName { get; set; } = DefaultColumnNames.PredictedLabel;

        /// <summary>The output column of the probability of a yes.</summary>
        /// <value>"Probability"</value>
        public string ProbabilityColumnName { get; set; } = DefaultColumnNames.Probability;

        /// <summary>How the encoder is trained, on what, and the label column; what describes the built-in network is left alone.</summary>
        /// <value>10 epochs of 32 rows a step, WeightDecay 0.01, GradientClipNorm 1. A LearningRate of 0, which it is: 5e-5 to fine-tune weights, else 1e-3.</value>
        public DistributedBinaryTrainer.Options Training { get; } = new() { Epochs = DefaultEpochs, BatchSize = DefaultBatchSize, LearningRate = 0, WeightDecay = DefaultWeightDecay, GradientClipNorm = DefaultClipNorm };
    }
}
