using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using Microsoft.ML.Trainers;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains a neural network that predicts a number, on a cluster.</summary>
/// <remarks>
/// Made by <c>ml.Regression.Trainers.DistributedNeuralNetwork</c>. Output column: Score, in the label's own units. Labels are standardised
/// while training, so the learning rate does not depend on their scale.
/// </remarks>
public sealed class DistributedRegressionTrainer : NeuralNetworkTrainer<RegressionPredictionTransformer<NeuralNetworkRegressionModel>, NeuralNetworkRegressionModel>
{
    private const string Name = "DistributedRegressionTrainer";

    internal DistributedRegressionTrainer(IHostEnvironment environment, NeuralNetworkOptions options, NetworkModule? module = null)
        : base(environment, options, module, MlTask.Regression, Name, TrainerUtils.MakeR4ScalarColumn)
    {
    }

    /// <inheritdoc/>
    protected override PredictionKind PredictionKind => PredictionKind.Regression;

    /// <inheritdoc/>
    protected override SchemaShape.Column[] GetOutputColumnsCore(SchemaShape inputSchema) =>
    [
        new(DefaultColumnNames.Score, SchemaShape.Column.VectorKind.Scalar, NumberDataViewType.Single, false, new SchemaShape(AnnotationUtils.GetTrainerOutputAnnotation())),
    ];

    /// <inheritdoc/>
    protected override RegressionPredictionTransformer<NeuralNetworkRegressionModel> MakeTransformer(NeuralNetworkRegressionModel model, DataViewSchema trainSchema) =>
        new(Host, model, trainSchema, FeatureColumn.Name);

    private protected override NeuralNetworkRegressionModel MakeModel(IHostEnvironment environment, TrainedNetwork network) => new(environment, network);

    /// <summary>Options of <see cref="DistributedRegressionTrainer"/>.</summary>
    public sealed class Options : NeuralNetworkOptions
    {
        /// <summary>What an error costs.</summary>
        /// <value><see cref="RegressionLoss.Squared"/></value>
        /// <example><code>new DistributedRegressionTrainer.Options { Loss = RegressionLoss.Quantile(0.9) }</code></example>
        public RegressionLoss Loss { get; set; } = RegressionLoss.Squared;

        internal override void Complete(JobSpec spec) => spec.Loss = Loss?.ToSpec();
    }
}
