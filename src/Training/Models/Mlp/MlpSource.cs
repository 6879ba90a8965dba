using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>The built-in multi-layer perceptron.</summary>
/// <param name="spec">The sizes.</param>
/// <param name="seed">Decides initial weights and dropout.</param>
/// <param name="precision">What its linear layers compute in.</param>
internal sealed unsafe class MlpSource(MlpSpec spec, ulong seed, Precision precision = Precision.Float32) : IModuleSource
{
    public FlatLayout Layout { get; } = LayoutOf(spec);

    public void Initialize(float* parameters) => Initialization.Fill(Layout, spec, seed, parameters);

    public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, StatisticsJoin ranks, Action<long>? gradientsReady) =>
        new Mlp(spec, Layout, seed, maxRows, parameters, gradients, ranks, gradientsReady, precision);

    public ModelProto WriteOnnx(JobSpec job, IReadOnlyDictionary<string, float[]> tensors) => OnnxMlpWriter.Write(job, tensors);

    /// <summary>The layout of a multi-layer perceptron.</summary>
    public static FlatLayout LayoutOf(MlpSpec mlp)
    {
        var parameters = new List<FlatTensor>();
        var buffers = new List<FlatTensor>();
        var inputs = mlp.EncodedSize;
        for (var i = 0; i < mlp.Categories.Count; i++)
            Add(parameters, CategorySpec.TableName(i), [mlp.Categories[i].Rows, mlp.Categories[i].Width], decays: true);
        for (var i = 0; i <= mlp.HiddenSizes.Count; i++)
        {
            var outputs = i < mlp.HiddenSizes.Count ? mlp.HiddenSizes[i] : mlp.OutputSize;
            Add(parameters, $"layers.{i}.weight", i == 0 && mlp.Sparse is not null ? [inputs, outputs] : [outputs, inputs], decays: true, isSparse: i == 0 && mlp.Sparse is not null);
            Add(parameters, $"layers.{i}.bias", [outputs]);
            if (i < mlp.HiddenSizes.Count && mlp.Normalization != LayerNormalization.None)
            {
                Add(parameters, $"norms.{i}.weight", [outputs]);
                Add(parameters, $"norms.{i}.bias", [outputs]);
            }

            if (i < mlp.HiddenSizes.Count && mlp.Normalization == LayerNormalization.Batch)
            {
                Add(buffers, $"norms.{i}.running_mean", [outputs]);
                Add(buffers, $"norms.{i}.running_var", [outputs]);
            }

            inputs = outputs;
        }

        return new FlatLayout(parameters, buffers);

        static void Add(List<FlatTensor> tensors, string name, long[] shape, bool decays = false, bool isSparse = false) =>
            tensors.Add(new FlatTensor(name, shape, new FlatLayout(tensors, []).ParameterLength, decays) { HasSparseRows = isSparse });
    }
}
