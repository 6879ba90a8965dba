using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using static TorchSharp.torch;

namespace MLDistributed.Tests.Shared;

/// <summary>Has something around each module that a source makes.</summary>
internal sealed unsafe class SourceAround(IModuleSource source, Func<ITrainedModule, ITrainedModule> around) : IModuleSource
{
    public FlatLayout Layout => source.Layout;

    public ModelProto WriteOnnx(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors) => source.WriteOnnx(spec, tensors);

    public void Initialize(float* parameters) => source.Initialize(parameters);

    public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, StatisticsJoin ranks, Action<long>? gradientsReady) =>
        around(source.Create(parameters, gradients, maxRows, ranks, gradientsReady));
}

/// <summary>Does what the module inside it does; overrides add to that.</summary>
internal abstract class ModuleAround(ITrainedModule inner) : ITrainedModule
{
    public float[] Buffers => inner.Buffers;

    public virtual Tensor Forward(Batch batch, long step) => inner.Forward(batch, step);

    public virtual void Backward(Tensor loss, int globalRows) => inner.Backward(loss, globalRows);

    public virtual Tensor Predict(Tensor features) => inner.Predict(features);

    public void Dispose() => inner.Dispose();
}
