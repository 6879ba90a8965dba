using Google.Protobuf;
using Microsoft.ML.Data;
using Microsoft.ML.Model.OnnxConverter;
using Microsoft.ML.Runtime;
using Microsoft.ML.Trainers;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>A trained network behind ML.NET's prediction transformers: an ONNX model and what is known about its training.</summary>
/// <remarks>Scoring is thread-safe. <see cref="Dispose"/> (or disposing the transformer) frees what the engine holds.</remarks>
/// <typeparam name="TOutput">What the network predicts for a row.</typeparam>
public abstract class NeuralNetworkModel<TOutput> : ModelParametersBase<TOutput>, IValueMapper, ICanSaveModel, ISingleCanSaveOnnx, ITrainedModel, IDisposable
{
    private readonly TrainedNetwork _network;

    private protected NeuralNetworkModel(IHostEnvironment env, string name, TrainedNetwork network)
        : base(env, name) => _network = network;

    private protected NeuralNetworkModel(IHostEnvironment env, string name, ModelLoadContext ctx, MlTask task)
        : base(env, name, ctx)
    {
        _network = TrainedNetwork.Read(ctx.Reader);
        if (_network.Spec.Task != task)
            throw new FormatException($"The neural network in the model file was trained for {_network.Spec.Task}, expected {task}, which the file says of itself. Copy the file again from its source, or train anew.");
    }

    /// <summary>The id of the job that trained the model.</summary>
    public string JobId => _network.JobId;

    /// <summary>The id of the training set: the SHA-256 of its rows.</summary>
    public string DatasetId => _network.Spec.Data?.DatasetId ?? "";

    /// <summary>The size of the feature vector.</summary>
    public int FeatureCount => Scorer.InputSize;

    /// <summary>The mean of each feature over the training set, which also stands for a missing (NaN) value; empty when features were not normalised, or are sparse: then that is 0.</summary>
    public IReadOnlyList<float> FeatureMeans => _network.Spec.Data?.Features?.Mean.ToArray() ?? [];

    /// <summary>What each feature less its mean is multiplied by: one over its standard deviation, 0 for a constant; of sparse features one over the root mean square of those that are not 0, 0 for one that always is; empty when features were not normalised.</summary>
    public IReadOnlyList<float> FeatureScales => _network.Spec.Data?.Features?.Scale.ToArray() ?? [];

    /// <summary>Losses, epochs and timings of the training.</summary>
    public TrainingSummary Summary => TrainingSummary.From(_network.Result);

    DataViewType IValueMapper.InputType => new VectorDataViewType(NumberDataViewType.Single, Scorer.InputSize);

    DataViewType IValueMapper.OutputType => OutputType;

    TrainedNetwork ITrainedModel.Network => _network;

    ISingleFeaturePredictionTransformer<object>? ITrainedModel.Transformer { get; set; }

    internal IScorer Scorer => _network.Scorer;

    // This, WriteOnnx and CreateMapper are those of networks whose one output is the score; others have their own.
    private protected virtual DataViewType OutputType => NumberDataViewType.Single;

    private GraphProto Graph => ModelProto.Parser.ParseFrom(_network.Onnx).Graph;

    private protected abstract string Signature { get; }

    private protected abstract string Loader { get; }

    /// <summary>
    /// Writes the network as an ONNX file, which any ONNX runtime scores: input "features" [N, features], output "score" [N, k]. Of a module of your own with
    /// several inputs: an input for each, by its name, [N, size] of Float, or of Int64 for keys, from 1, and 0 for a missing one.
    /// </summary>
    /// <param name="path">The file; an existing one is replaced.</param>
    /// <example><code>model.LastTransformer.Model.SaveOnnx("digits.onnx");</code></example>
    public void SaveOnnx(string path) => File.WriteAllBytes(path, OnnxBytes());

    /// <summary>Writes the network as an ONNX model, which any ONNX runtime scores.</summary>
    /// <param name="stream">The stream; it stays open.</param>
    public void SaveOnnx(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        stream.Write(OnnxBytes());
    }

    private byte[] OnnxBytes() => _network.Spec.Module.Torch is { Inputs: { Count: > 0 } inputs }
        ? OnnxNamedColumns.Split(ModelProto.Parser.ParseFrom(_network.Onnx), inputs, columns: []).ToByteArray()
        : _network.Onnx;

    /// <inheritdoc/>
    public void Dispose()
    {
        Scorer.Dispose();
        GC.SuppressFinalize(this);
    }

    ValueMapper<TSource, TResult> IValueMapper.GetMapper<TSource, TResult>() =>
        CreateMapper() is ValueMapper<TSource, TResult> mapper
            ? mapper
            : throw Host.Except($"The network maps features to {typeof(TOutput).Name}, not {typeof(TSource).Name} to {typeof(TResult).Name}.");

    bool ICanSaveOnnx.CanSaveOnnx(OnnxContext ctx) => OnnxConversion.CanWrite(Graph);

    bool ISingleCanSaveOnnx.SaveAsOnnx(OnnxContext ctx, string[] outputNames, string featureColumn)
    {
        WriteOnnx(ctx, Graph, outputNames, featureColumn);
        return true;
    }

    /// <summary>Adds the network to the ONNX model of a pipeline; the names of the output columns are in ML.NET's order.</summary>
    private protected virtual void WriteOnnx(OnnxContext context, GraphProto graph, string[] outputs, string features) =>
        OnnxConversion.Write(context, graph, features, new Dictionary<string, string> { [OnnxMlpWriter.Score] = outputs[0] });

    private protected virtual Delegate CreateMapper()
    {
        var run = CreateRunner();
        ValueMapper<VBuffer<float>, float> map = (in VBuffer<float> features, ref float score) => run(in features, new Span<float>(ref score));
        return map;
    }

    /// <summary>A runner that takes ML.NET's dense or sparse vectors, for one thread at a time.</summary>
    private protected VectorScorer CreateRunner()
    {
        var (run, runSparse) = (Scorer.CreateRunner(), Scorer.CreateSparseRunner());
        float[]? dense = null;
        return (in VBuffer<float> features, Span<float> score) =>
        {
            if (features.Length != Scorer.InputSize)
                throw Host.Except($"Features have {features.Length:N0} slots, expected {Scorer.InputSize:N0}, the size that the network was trained with. Use the same feature columns.");
            if (features.IsDense)
            {
                run(features.GetValues(), score);
                return;
            }

            if (runSparse is not null)
            {
                runSparse(features.GetIndices(), features.GetValues(), score);
                return;
            }

            features.CopyTo(dense ??= new float[Scorer.InputSize]);
            run(dense, score);
        };
    }

    /// <inheritdoc/>
    protected override void SaveCore(ModelSaveContext ctx)
    {
        base.SaveCore(ctx);
        ctx.SetVersionInfo(NetworkVersion.Of(Signature, Loader));
        _network.Write(ctx.Writer);
    }

    private protected delegate void VectorScorer(in VBuffer<float> features, Span<float> score);
}

internal static class NetworkVersion
{
    public static VersionInfo Of(string signature, string loader) => ModelVersion.First(signature, loader, typeof(NetworkVersion));

    /// <summary>ML.NET's own check, with a message that says what to do.</summary>
    public static void Check(ModelLoadContext ctx, string signature, string loader)
    {
        if (ctx.Header.ModelVerReadable > ModelVersion.Initial)
        {
            throw new FormatException(
                $"The neural network in the model file has format {ctx.Header.ModelVerReadable >> 16}.{ctx.Header.ModelVerReadable & 0xFFFF}, " +
                $"expected at most {ModelVersion.Initial >> 16}.{ModelVersion.Initial & 0xFFFF}. Update the package Microsoft.ML.Distributed.");
        }

        ctx.CheckAtModel(Of(signature, loader));
    }
}
