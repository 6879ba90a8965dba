using MLDistributed.Collectives;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>What the layers that we compute ourselves know of the step that a module is in.</summary>
internal sealed class ForwardPass(ulong seed)
{
    private readonly List<Tensor> _kept = [];

    public ulong Seed => seed;

    /// <summary>Whether a step is being trained; else layers are what libtorch makes of them.</summary>
    public bool IsTraining { get; private set; }

    public long Step { get; private set; }

    /// <summary>This rank's rows of the global batch. Where it has none, one stands in that counts nowhere.</summary>
    public Shard Rows { get; private set; }

    /// <summary>What the other ranks' absence threw in backward, where nothing may be thrown.</summary>
    public Exception? Failure { get; set; }

    /// <summary>How many dropouts this pass has had.</summary>
    public int Dropouts { get; set; }

    public void Begin(long step, Shard rows)
    {
        End();
        (IsTraining, Step, Rows, Dropouts, Failure) = (true, step, rows, 0, null);
    }

    public void End()
    {
        IsTraining = false;
        _kept.ForEach(t => t.Dispose());
        _kept.Clear();
    }

    /// <summary>Keeps a tensor until the end of the step: the module may have a dispose scope of its own around what is made here.</summary>
    public Tensor Keep(Tensor tensor)
    {
        _kept.Add(tensor.DetachFromDisposeScope());
        return tensor;
    }
}
