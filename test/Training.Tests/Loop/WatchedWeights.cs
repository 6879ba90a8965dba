using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Tests.Shared;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using static TorchSharp.torch;

namespace Training.Tests.Loop;

/// <summary>Notes the weights of each forward.</summary>
internal sealed unsafe class WatchedWeights(IModuleSource source, Action<float[]> took) : IModuleSource
{
    public FlatLayout Layout => source.Layout;

    public ModelProto WriteOnnx(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors) => source.WriteOnnx(spec, tensors);

    public void Initialize(float* parameters) => source.Initialize(parameters);

    public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, StatisticsJoin ranks, Action<long>? gradientsReady) =>
        new Module(source.Create(parameters, gradients, maxRows, ranks, gradientsReady), () => took(new Span<float>((float*)TorchMemory.Data(parameters), (int)Layout.ParameterLength).ToArray()));

    private sealed class Module(ITrainedModule inner, Action look) : ModuleAround(inner)
    {
        public override Tensor Forward(Batch batch, long step)
        {
            look();
            return base.Forward(batch, step);
        }
    }
}
