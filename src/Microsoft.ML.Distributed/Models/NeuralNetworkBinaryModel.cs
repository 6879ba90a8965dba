using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Model.OnnxConverter;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

[assembly: LoadableClass(typeof(NeuralNetworkBinaryModel), null, typeof(SignatureLoadModel), "Distributed neural network, binary", NeuralNetworkBinaryModel.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>A network with one logit. Its score is the logit, its probability the sigmoid of it, which training calibrates, from 1e-7 to 1 - 1e-7: no wrong row makes the log-loss infinite.</summary>
public sealed class NeuralNetworkBinaryModel : NeuralNetworkModel<float>, IValueMapperDist
{
    internal const string LoaderSignature = "MLDistNetBinary";
    private const string ModelSignature = "MLDNNBIN";

    internal NeuralNetworkBinaryModel(IHostEnvironment env, TrainedNetwork network)
        : base(env, LoaderSignature, network)
    {
    }

    private NeuralNetworkBinaryModel(IHostEnvironment env, ModelLoadContext ctx)
        : base(env, LoaderSignature, ctx, MlTask.Binary)
    {
    }

    DataViewType IValueMapperDist.DistType => NumberDataViewType.Single;

    /// <inheritdoc/>
    protected override PredictionKind PredictionKind => PredictionKind.BinaryClassification;

    private protected override string Signature => ModelSignature;

    private protected override string Loader => LoaderSignature;

    ValueMapper<TSource, TScore, TProbability> IValueMapperDist.GetMapper<TSource, TScore, TProbability>()
    {
        var run = CreateRunner();
        ValueMapper<VBuffer<float>, float, float> map = (in VBuffer<float> features, ref float score, ref float probability) =>
        {
            run(in features, new Span<float>(ref score));
            probability = Math.Clamp(1 / (1 + MathF.Exp(-score)), OnnxMlpWriter.LeastProbability, 1 - OnnxMlpWriter.LeastProbability);
        };
        return map is ValueMapper<TSource, TScore, TProbability> mapper
            ? mapper
            : throw Host.Except($"The network maps features to Single, not {typeof(TSource).Name} to {typeof(TScore).Name}.");
    }

    private protected override void WriteOnnx(OnnxContext context, GraphProto graph, string[] outputs, string features)
    {
        // The predicted label, first, is ML.NET's to write.
        OnnxConversion.Write(context, graph, features, new Dictionary<string, string> { [OnnxMlpWriter.Score] = outputs[1], [OnnxMlpWriter.Probability] = outputs[2] });
    }

    // Called by ML.NET when it loads a model file; more visible than the constructor, or it would not know which to take.
    internal static NeuralNetworkBinaryModel Create(IHostEnvironment env, ModelLoadContext ctx)
    {
        NetworkVersion.Check(ctx, ModelSignature, LoaderSignature);
        return new NeuralNetworkBinaryModel(env, ctx);
    }
}
