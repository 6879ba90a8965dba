using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

[assembly: LoadableClass(typeof(NeuralNetworkRankingModel), null, typeof(SignatureLoadModel), "Distributed neural network, ranking", NeuralNetworkRankingModel.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>A network that scores rows: those of a group with higher scores are the more relevant ones. Scores of different groups do not compare.</summary>
public sealed class NeuralNetworkRankingModel : NeuralNetworkModel<float>
{
    internal const string LoaderSignature = "MLDistNetRanking";
    private const string ModelSignature = "MLDNNRNK";

    internal NeuralNetworkRankingModel(IHostEnvironment env, TrainedNetwork network)
        : base(env, LoaderSignature, network)
    {
    }

    private NeuralNetworkRankingModel(IHostEnvironment env, ModelLoadContext ctx)
        : base(env, LoaderSignature, ctx, MlTask.Ranking)
    {
    }

    /// <inheritdoc/>
    protected override PredictionKind PredictionKind => PredictionKind.Ranking;

    private protected override string Signature => ModelSignature;

    private protected override string Loader => LoaderSignature;

    // Called by ML.NET when it loads a model file; more visible than the constructor, or it would not know which to take.
    internal static NeuralNetworkRankingModel Create(IHostEnvironment env, ModelLoadContext ctx)
    {
        NetworkVersion.Check(ctx, ModelSignature, LoaderSignature);
        return new NeuralNetworkRankingModel(env, ctx);
    }
}
