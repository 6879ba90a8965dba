using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using Microsoft.ML.Trainers;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains a neural network that answers yes or no, on a cluster.</summary>
/// <remarks>
/// Made by <c>ml.BinaryClassification.Trainers.DistributedNeuralNetwork</c>. Output columns: Score, the logit; Probability, its sigmoid;
/// and PredictedLabel, whether the logit is above 0.
/// </remarks>
public sealed class DistributedBinaryTrainer : NeuralNetworkTrainer<BinaryPredictionTransformer<NeuralNetworkBinaryModel>, NeuralNetworkBinaryModel>
{
    private const string Name = "DistributedBinaryTrainer";

    internal DistributedBinaryTrainer(IHostEnvironment environment, NeuralNetworkOptions options, NetworkModule? module = null)
        : base(environment, options, module, MlTask.Binary, Name, TrainerUtils.MakeBoolScalarLabel)
    {
    }

    /// <inheritdoc/>
    protected override PredictionKind PredictionKind => PredictionKind.BinaryClassification;

    /// <inheritdoc/>
    protected override SchemaShape.Column[] GetOutputColumnsCore(SchemaShape inputSchema) =>
    [
        new(DefaultColumnNames.Score, SchemaShape.Column.VectorKind.Scalar, NumberDataViewType.Single, false, new SchemaShape(AnnotationUtils.GetTrainerOutputAnnotation())),
        new(DefaultColumnNames.Probability, SchemaShape.Column.VectorKind.Scalar, NumberDataViewType.Single, false, new SchemaShape(AnnotationUtils.GetTrainerOutputAnnotation(true))),
        new(DefaultColumnNames.PredictedLabel, SchemaShape.Column.VectorKind.Scalar, BooleanDataViewType.Instance, false, new SchemaShape(AnnotationUtils.GetTrainerOutputAnnotation())),
    ];

    /// <inheritdoc/>
    protected override BinaryPredictionTransformer<NeuralNetworkBinaryModel> MakeTransformer(NeuralNetworkBinaryModel model, DataViewSchema trainSchema) =>
        new(Host, model, trainSchema, FeatureColumn.Name);

    private protected override NeuralNetworkBinaryModel MakeModel(IHostEnvironment environment, TrainedNetwork network) => new(environment, network);

    /// <summary>Options of <see cref="DistributedBinaryTrainer"/>.</summary>
    public sealed class Options : NeuralNetworkOptions
    {
        /// <summary>How much the rows of each class count, two numbers above 0: of the labels false and true. Null: all alike.</summary>
        /// <value>null</value>
        /// <remarks>With weights, <c>Probability</c> is that of data in which the classes are so frequent.</remarks>
        /// <example><code>new DistributedBinaryTrainer.Options { ClassWeights = [1, 10] } // rare positives</code></example>
        public IReadOnlyList<float>? ClassWeights { get; set; }

        /// <summary>How much less rows count that are right already: each row's loss is multiplied by (1 - p) to this power, p the probability of its label (focal loss, Lin et al., arXiv:1708.02002).</summary>
        /// <value>0: all alike. 2 is usual; <c>Probability</c> then understates how sure the model is.</value>
        public double FocalGamma { get; set; }

        internal override void Complete(JobSpec spec)
        {
            spec.ClassWeights.AddRange(ClassWeights ?? []);
            spec.Loss = FocalGamma == 0 ? null : new LossSpec { Focal = new FocalLossSpec { Gamma = FocalGamma } };
        }
    }
}
