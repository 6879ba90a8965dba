using MLDistributed.Collectives;
using MLDistributed.Protocol;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>The built-in multi-layer perceptron.</summary>
internal sealed unsafe class MlpSource(MlpSpec spec, ulong seed) : IModuleSource
{
    public FlatLayout Layout { get; } = FlatLayout.Of(spec);

    public void Initialize(float* parameters) => Initialization.Fill(Layout, spec, seed, parameters);

    public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, ICollective collective, Action<long>? gradientsReady) =>
        new Mlp(spec, Layout, seed, maxRows, parameters, gradients, collective, gradientsReady);
}
