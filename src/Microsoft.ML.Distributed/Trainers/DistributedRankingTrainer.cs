using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using Microsoft.ML.Trainers;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains a neural network that ranks the rows of a group, on a cluster.</summary>
/// <remarks>
/// Made by <c>ml.Ranking.Trainers.DistributedNeuralNetwork</c>. Output column: Score, the higher the more relevant within its group. The loss
/// is LambdaRank (Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82): of each pair of a group's rows with
/// different relevance the logistic loss of their scores' difference, weighed by what NDCG would change by if they changed places,
/// with gains of 2^relevance - 1. A step's loss is the mean over its groups; one whose rows are all of one relevance has none.
/// </remarks>
public sealed class DistributedRankingTrainer : NeuralNetworkTrainer<RankingPredictionTransformer<NeuralNetworkRankingModel>, NeuralNetworkRankingModel>
{
    private const string Name = "DistributedRankingTrainer";

    internal DistributedRankingTrainer(IHostEnvironment environment, NeuralNetworkOptions options, NetworkModule? module = null)
        : base(environment, options, module, MlTask.Ranking, Name, TrainerUtils.MakeR4ScalarColumn)
    {
    }

    /// <inheritdoc/>
    protected override PredictionKind PredictionKind => PredictionKind.Ranking;

    /// <inheritdoc/>
    protected override SchemaShape.Column[] GetOutputColumnsCore(SchemaShape inputSchema) =>
    [
        new(DefaultColumnNames.Score, SchemaShape.Column.VectorKind.Scalar, NumberDataViewType.Single, false, new SchemaShape(AnnotationUtils.GetTrainerOutputAnnotation())),
    ];

    /// <inheritdoc/>
    protected override RankingPredictionTransformer<NeuralNetworkRankingModel> MakeTransformer(NeuralNetworkRankingModel model, DataViewSchema trainSchema) =>
        new(Host, model, trainSchema, FeatureColumn.Name);

    private protected override NeuralNetworkRankingModel MakeModel(IHostEnvironment environment, TrainedNetwork network) => new(environment, network);

    /// <summary>Options of <see cref="DistributedRankingTrainer"/>.</summary>
    /// <remarks>
    /// A step takes whole groups, as many as have <see cref="NeuralNetworkOptions.BatchSize"/> rows on average and one at least, so that the number
    /// of its rows varies. <see cref="NeuralNetworkOptions.ExampleWeightColumnName"/> and
    /// <see cref="NeuralNetworkOptions.MaxMicroBatchSize"/> are not for ranking.
    /// </remarks>
    public sealed class Options : NeuralNetworkOptions
    {
        /// <summary>The column that tells which rows are ranked together, such as a query's id: a key. The rows of a group stand one behind the other, at most 10,000; those without a group are left out.</summary>
        /// <value>"GroupId"</value>
        public string RowGroupColumnName { get; set; } = DefaultColumnNames.GroupId;

        /// <summary>How many of a group's rows with the highest scores matter: pairs of rows that are both further down do not count, as LightGBM's lambdarank_truncation_level has it. 0: all pairs.</summary>
        /// <value>30</value>
        public int TruncationLevel { get; set; } = 30;

        internal override string? GroupColumn => RowGroupColumnName;

        internal override void Complete(JobSpec spec) => spec.Loss = new LossSpec { LambdaRank = new LambdaRankLossSpec { TruncationLevel = TruncationLevel } };
    }
}
