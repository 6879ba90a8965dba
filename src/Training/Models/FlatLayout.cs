using MLDistributed.Protocol;

namespace MLDistributed.Training.Models;

/// <summary>A tensor's place in a flat buffer.</summary>
/// <param name="Name">Its name in weight files, such as "layers.0.weight".</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="Start">Its first element in the flat buffer.</param>
/// <param name="Decays">Whether weight decay applies: to matrices, not to biases and norms.</param>
internal sealed record FlatTensor(string Name, long[] Shape, long Start, bool Decays)
{
    public long Length { get; } = Shape.Aggregate(1L, (a, b) => a * b);
}

/// <summary>Where a module's parameters lie in the flat buffers, and its buffers (running statistics) in theirs.</summary>
internal sealed record FlatLayout(IReadOnlyList<FlatTensor> Parameters, IReadOnlyList<FlatTensor> Buffers)
{
    public long ParameterLength => End(Parameters);

    public long BufferLength => End(Buffers);

    /// <summary>The layout of a multi-layer perceptron.</summary>
    public static FlatLayout Of(MlpSpec mlp)
    {
        var parameters = new List<FlatTensor>();
        var buffers = new List<FlatTensor>();
        var inputs = (long)mlp.InputSize;
        for (var i = 0; i <= mlp.HiddenSizes.Count; i++)
        {
            var outputs = i < mlp.HiddenSizes.Count ? mlp.HiddenSizes[i] : mlp.OutputSize;
            Add(parameters, $"layers.{i}.weight", [outputs, inputs], decays: true);
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

        static void Add(List<FlatTensor> tensors, string name, long[] shape, bool decays = false) =>
            tensors.Add(new FlatTensor(name, shape, End(tensors), decays));
    }

    private static long End(IReadOnlyList<FlatTensor> tensors) => tensors is [.., var last] ? last.Start + last.Length : 0;
}
