using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchModules;

/// <summary>One layer, and one thing wrong with it.</summary>
public abstract class BadModule : nn.Module<Tensor, Tensor>
{
    protected readonly Linear layer;

    protected BadModule(NetOptions o, string name) : base(name)
    {
        layer = nn.Linear(o.Inputs, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => layer.call(x);
}

public sealed class ThrowsAtOnce : BadModule
{
    public ThrowsAtOnce(NetOptions o) : base(o, nameof(ThrowsAtOnce)) => Fail();

    private static void Fail() => throw new InvalidOperationException("no such width");
}

public sealed class ThrowsLater(NetOptions o) : BadModule(o, nameof(ThrowsLater))
{
    private int calls;

    // The trial before the training is of another instance.
    public override Tensor forward(Tensor x) => ++calls > 5 ? Fail(x) : base.forward(x);

    private static Tensor Fail(Tensor x) => throw new InvalidOperationException($"cannot go on with {x.shape[1]} features");
}

public sealed class WrongShape(NetOptions o) : BadModule(o with { Outputs = 7 }, nameof(WrongShape));

public sealed class DoubleNumbers : BadModule
{
    public DoubleNumbers(NetOptions o) : base(o, nameof(DoubleNumbers)) => this.to(ScalarType.Float64);
}

public sealed class NothingToTrain(NetOptions o) : nn.Module<Tensor, Tensor>(nameof(NothingToTrain))
{
    public override Tensor forward(Tensor x) => x.narrow(1, 0, o.Outputs);
}

public sealed class NotSeen : nn.Module<Tensor, Tensor>
{
    private readonly Linear first;
    private readonly LSTM memory;
    private readonly Linear head;

    public NotSeen(NetOptions o) : base(nameof(NotSeen))
    {
        (first, memory, head) = (nn.Linear(o.Inputs, 8), nn.LSTM(8, 8, batchFirst: true), nn.Linear(8, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => head.call(memory.call(first.call(x).unsqueeze(1)).Item1.squeeze(1));
}
