using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

[assembly: LoadableClass(typeof(NeuralNetworkRegressionModel), null, typeof(SignatureLoadModel), "Distributed neural network, regression", NeuralNetworkRegressionModel.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>A network that predicts a number, in the label's own units.</summary>
public sealed class NeuralNetworkRegressionModel : NeuralNetworkModel<float>
{
    internal const string LoaderSignature = "MLDistNetRegression";
    private const string ModelSignature = "MLDNNREG";

    internal NeuralNetworkRegressionModel(IHostEnvironment env, TrainedNetwork network)
        : base(env, LoaderSignature, network)
    {
    }

    private NeuralNetworkRegressionModel(IHostEnvironment env, ModelLoadContext ctx)
        : base(env, LoaderSignature, ctx, MlTask.Regression)
    {
    }

    /// <inheritdoc/>
    protected override PredictionKind PredictionKind => PredictionKind.Regression;

    private protected override string Signature => ModelSignature;

    private protected override string Loader => LoaderSignature;

    // Called by ML.NET when it loads a model file; more visible than the constructor, or it would not know which to take.
    internal static NeuralNetworkRegressionModel Create(IHostEnvironment env, ModelLoadContext ctx)
    {
        NetworkVersion.Check(ctx, ModelSignature, LoaderSignature);
        return new NeuralNetworkRegressionModel(env, ctx);
    }
}
