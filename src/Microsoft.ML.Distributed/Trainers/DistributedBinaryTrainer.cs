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

    internal DistributedBinaryTrainer(IHostEnvironment environment, Options options)
        : base(environment, options, MlTask.Binary, Name, TrainerUtils.MakeBoolScalarLabel)
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
        internal override void Complete(JobSpec spec)
        {
            // Nothing of its own.
        }
    }
}
