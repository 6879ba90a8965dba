using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using Microsoft.ML.Trainers;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains a neural network that tells classes apart, on a cluster.</summary>
/// <remarks>
/// Made by <c>ml.MulticlassClassification.Trainers.DistributedNeuralNetwork</c>. Output columns: Score, the probability of each class, and
/// PredictedLabel, a key with the label's own values. The model is the same on any number of ranks, up to rounding.
/// </remarks>
public sealed class DistributedMulticlassTrainer : NeuralNetworkTrainer<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>, NeuralNetworkMulticlassModel>
{
    private const string Name = "DistributedMulticlassTrainer";
    private readonly string _predictedLabel;

    internal DistributedMulticlassTrainer(IHostEnvironment environment, NeuralNetworkOptions options, NetworkModule? module = null, string predictedLabel = DefaultColumnNames.PredictedLabel)
        : base(environment, options, module, MlTask.Multiclass, Name, TrainerUtils.MakeU4ScalarColumn) =>
        _predictedLabel = predictedLabel;

    /// <inheritdoc/>
    protected override PredictionKind PredictionKind => PredictionKind.MulticlassClassification;

    /// <inheritdoc/>
    protected override SchemaShape.Column[] GetOutputColumnsCore(SchemaShape inputSchema)
    {
        inputSchema.TryFindColumn(LabelColumn.Name, out var label);
        var keyValues = label.Annotations.Where(a => a.Name == AnnotationUtils.Kinds.KeyValues);
        return
        [
            new(DefaultColumnNames.Score, SchemaShape.Column.VectorKind.Vector, NumberDataViewType.Single, false, new SchemaShape(AnnotationUtils.AnnotationsForMulticlassScoreColumn(label))),
            new(_predictedLabel, SchemaShape.Column.VectorKind.Scalar, NumberDataViewType.UInt32, true, new SchemaShape(keyValues.Concat(AnnotationUtils.GetTrainerOutputAnnotation()))),
        ];
    }

    /// <inheritdoc/>
    protected override MulticlassPredictionTransformer<NeuralNetworkMulticlassModel> MakeTransformer(NeuralNetworkMulticlassModel model, DataViewSchema trainSchema) =>
        new(Host, model, trainSchema, FeatureColumn.Name, LabelColumn.Name, predictedLabel: _predictedLabel);

    private protected override NeuralNetworkMulticlassModel MakeModel(IHostEnvironment environment, TrainedNetwork network) => new(environment, network);

    /// <summary>Options of <see cref="DistributedMulticlassTrainer"/>.</summary>
    public sealed class Options : NeuralNetworkOptions
    {
        /// <summary>The part of each label, in [0, 1), that is spread over all classes (Szegedy et al., arXiv:1512.00567).</summary>
        /// <value>0</value>
        public double LabelSmoothing { get; set; }

        /// <summary>How much the rows of each class count, one number of at least 0 a class, in the order of the label's keys; null: all alike.</summary>
        /// <value>null</value>
        public IReadOnlyList<float>? ClassWeights { get; set; }

        /// <summary>How much less rows count that are right already: each row's loss is multiplied by (1 - p) to this power, p the probability of its label (focal loss, Lin et al., arXiv:1708.02002). Not beside <see cref="LabelSmoothing"/>.</summary>
        /// <value>0: all alike. 2 is usual; <c>Score</c> then understates how sure the model is.</value>
        public double FocalGamma { get; set; }

        internal override void Complete(JobSpec spec)
        {
            spec.Loss = FocalGamma == 0 ? null : new LossSpec { Focal = new FocalLossSpec { Gamma = FocalGamma } };
            spec.LabelSmoothing = LabelSmoothing;
            spec.ClassWeights.AddRange(ClassWeights ?? []);
        }
    }
}
