using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains a convolutional network that tells images apart, on a cluster.</summary>
/// <remarks>
/// Made by <c>ml.MulticlassClassification.Trainers.DistributedImageClassification</c>. Images are an <see cref="MLImage"/>, the bytes of an
/// image file as a vector of Byte, or its path as text; the model takes the same. They are decoded and brought to the network's size
/// here, on all cores, and travel as a byte a channel. What cannot be read is named, with its row, in training and in scoring. Output
/// columns: Score, the probability of each class, and PredictedLabel, a key with the label's own values.
/// </remarks>
public sealed class DistributedImageClassificationTrainer : DistributedImageTrainer<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>>
{
    internal DistributedImageClassificationTrainer(IHostEnvironment environment, Options options)
        : base(environment, options)
    {
    }

    private protected override INetworkTrainer<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>> MakeTrainer(IHostEnvironment environment, ImageOptions options, ImageNetworkModule network) =>
        new DistributedMulticlassTrainer(environment, options, network, PredictedLabel(options));

    private protected override string PredictedLabel(ImageOptions options) => ((Options)options).PredictedLabelColumnName;

    /// <summary>Options of <see cref="DistributedImageClassificationTrainer"/>.</summary>
    public sealed class Options : ImageOptions
    {
        /// <summary>The column of each class's probability. ML.NET's transformer for classes knows no other name than "Score", so that another is refused: copy the column behind, with <c>ml.Transforms.CopyColumns</c>.</summary>
        /// <value>"Score"</value>
        public string ScoreColumnName { get; set; } = DefaultColumnNames.Score;

        /// <summary>The column of the likeliest class.</summary>
        /// <value>"PredictedLabel"</value>
        public string PredictedLabelColumnName { get; set; } = DefaultColumnNames.PredictedLabel;

        /// <summary>The part of each label, in [0, 1), that is spread over all classes (Szegedy et al., arXiv:1512.00567). Not beside <see cref="ImageOptions.FocalGamma"/>.</summary>
        /// <value>0</value>
        public double LabelSmoothing { get; set; }

        internal override IEnumerable<string> OwnErrors()
        {
            if (ScoreColumnName != DefaultColumnNames.Score)
                yield return $"ScoreColumnName is \"{ScoreColumnName}\", expected \"Score\", the only name that ML.NET's transformer for classes knows. Copy the column behind the trainer: ml.Transforms.CopyColumns(\"{ScoreColumnName}\", \"Score\").";
        }

        internal override void Complete(JobSpec spec)
        {
            base.Complete(spec);
            spec.LabelSmoothing = LabelSmoothing;
        }
    }
}
