using MLDistributed.Collectives;
using MLDistributed.Tests.Shared;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using static TorchSharp.torch;

namespace MLDistributed.Engine.Bench;

/// <summary>A module that meets those of other ranks before each step's forward and after its backward, and shares nothing else.</summary>
internal sealed class LockStep(ITrainedModule module, ICollective others) : ModuleAround(module)
{
    public override Tensor Forward(Batch batch, long step)
    {
        others.Barrier();
        return base.Forward(batch, step);
    }

    public override void Backward(Tensor loss, int globalRows)
    {
        base.Backward(loss, globalRows);
        others.Barrier();
    }
}
