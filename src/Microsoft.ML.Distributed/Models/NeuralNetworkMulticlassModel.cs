using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Model.OnnxConverter;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

[assembly: LoadableClass(typeof(NeuralNetworkMulticlassModel), null, typeof(SignatureLoadModel), "Distributed neural network, multiclass", NeuralNetworkMulticlassModel.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>A network that gives each class a probability. Its score is the softmax over the classes.</summary>
public sealed class NeuralNetworkMulticlassModel : NeuralNetworkModel<VBuffer<float>>
{
    internal const string LoaderSignature = "MLDistNetMulticlass";
    private const string ModelSignature = "MLDNNMUL";

    internal NeuralNetworkMulticlassModel(IHostEnvironment env, TrainedNetwork network)
        : base(env, LoaderSignature, network)
    {
    }

    private NeuralNetworkMulticlassModel(IHostEnvironment env, ModelLoadContext ctx)
        : base(env, LoaderSignature, ctx, MlTask.Multiclass)
    {
    }

    /// <summary>The number of classes.</summary>
    public int ClassCount => Scorer.OutputSize;

    /// <inheritdoc/>
    protected override PredictionKind PredictionKind => PredictionKind.MulticlassClassification;

    private protected override DataViewType OutputType => new VectorDataViewType(NumberDataViewType.Single, ClassCount);

    private protected override string Signature => ModelSignature;

    private protected override string Loader => LoaderSignature;

    private protected override void WriteOnnx(OnnxContext context, GraphProto graph, string[] outputs, string features)
    {
        OnnxConversion.Write(context, graph, features, new Dictionary<string, string> { [OnnxMlpWriter.Score] = outputs[1] });
        OnnxConversion.WriteKeyOfHighest(context, outputs[1], outputs[0]);
    }

    private protected override Delegate CreateMapper()
    {
        var run = CreateRunner();
        ValueMapper<VBuffer<float>, VBuffer<float>> map = (in VBuffer<float> features, ref VBuffer<float> score) =>
        {
            var editor = VBufferEditor.Create(ref score, Scorer.OutputSize);
            run(in features, editor.Values);
            score = editor.Commit();
        };
        return map;
    }

    // Called by ML.NET when it loads a model file; more visible than the constructor, or it would not know which to take.
    internal static NeuralNetworkMulticlassModel Create(IHostEnvironment env, ModelLoadContext ctx)
    {
        NetworkVersion.Check(ctx, ModelSignature, LoaderSignature);
        return new NeuralNetworkMulticlassModel(env, ctx);
    }
}
