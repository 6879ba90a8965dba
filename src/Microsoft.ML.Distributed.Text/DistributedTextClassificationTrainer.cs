using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains an encoder of texts that tells classes apart, on a cluster.</summary>
/// <remarks>
/// Made by <c>ml.MulticlassClassification.Trainers.DistributedTextClassification</c>. Output columns: Score, the probability of each
/// class, and PredictedLabel, a key with the label's own values. The model is the same on any number of ranks, up to rounding.
/// </remarks>
public sealed class DistributedTextClassificationTrainer : DistributedTextTrainer
{
    private readonly Options _options;

    internal DistributedTextClassificationTrainer(IHostEnvironment environment, Options options)
        : base(environment, options, options.Training) => _options = options;

    private protected override MlTask Task => MlTask.Multiclass;

    private protected override INetworkTrainer<ITransformer> MakeTrainer(NeuralNetworkOptions options, TextNetwork network) =>
        new DistributedMulticlassTrainer(Environment, options, network);

    private protected override IEnumerable<(string From, string To)> Outputs() => base.Outputs().Append((DefaultColumnNames.PredictedLabel, _options.OutputColumnName));

    /// <summary>Options of <see cref="DistributedTextClassificationTrainer"/>.</summary>
    public sealed class Options : TextOptions
    {
        /// <summary>The output column of predicted labels.</summary>
        /// <value>"PredictedLabel"</value>
        public string OutputColumnName { get; set; } = DefaultColumnNames.PredictedLabel;

        /// <summary>How the encoder is trained, on what, and the label column; what describes the built-in network is left alone.</summary>
        /// <value>10 epochs of 32 rows a step, WeightDecay 0.01, GradientClipNorm 1. A LearningRate of 0, which it is: 5e-5 to fine-tune weights, else 1e-3.</value>
        /// <example><code>new DistributedTextClassificationTrainer.Options { Training = { LabelColumnName = "Toxic", MaxRanks = 2 } }</code></example>
        public DistributedMulticlassTrainer.Options Training { get; } = new() { Epochs = DefaultEpochs, BatchSize = DefaultBatchSize, LearningRate = 0, WeightDecay = DefaultWeightDecay, GradientClipNorm = DefaultClipNorm };
    }
}
