using MLDistributed.Collectives;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using static TorchSharp.torch;

namespace MLDistributed.Engine.Bench;

/// <summary>A module that meets those of other ranks before each step's forward and after its backward, and shares nothing else.</summary>
internal sealed unsafe class LockStep(IModuleSource source, ICollective others) : IModuleSource
{
    public FlatLayout Layout => source.Layout;

    public void Initialize(float* parameters) => source.Initialize(parameters);

    public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, ICollective collective, Action<long>? gradientsReady) =>
        new Trained(source.Create(parameters, gradients, maxRows, collective, gradientsReady), others);

    private sealed class Trained(ITrainedModule module, ICollective others) : ITrainedModule
    {
        public float[] Buffers => module.Buffers;

        public Tensor Forward(Batch batch, long step)
        {
            others.Barrier();
            return module.Forward(batch, step);
        }

        public void Backward(Tensor loss, int globalRows)
        {
            module.Backward(loss, globalRows);
            others.Barrier();
        }

        public Tensor Predict(Tensor features) => module.Predict(features);

        public void Dispose() => module.Dispose();
    }
}
