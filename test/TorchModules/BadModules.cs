using Microsoft.ML.Distributed;
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
    private readonly Bilinear memory;
    private readonly Linear head;

    public NotSeen(NetOptions o) : base(nameof(NotSeen))
    {
        (first, memory, head) = (nn.Linear(o.Inputs, 8), nn.Bilinear(8, 8, 8), nn.Linear(8, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => head.call(memory.call(first.call(x), first.call(x)));
}

public sealed class UsesUnknownFunction(NetOptions o) : BadModule(o, nameof(UsesUnknownFunction))
{
    public override Tensor forward(Tensor x) => layer.call(x.cumsum(1)) * 2;
}

public sealed class UsesUnknownLayer : nn.Module<Tensor, Tensor>
{
    private readonly Bilinear mixed;

    public UsesUnknownLayer(NetOptions o) : base(nameof(UsesUnknownLayer))
    {
        mixed = nn.Bilinear(o.Inputs, o.Inputs, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => mixed.call(x, x);
}

public sealed class Decides(NetOptions o) : BadModule(o, nameof(Decides))
{
    public override Tensor forward(Tensor x) => x.mean().ToSingle() > 0 ? layer.call(x) : layer.call(-x);
}

public sealed class AttendsOverRows : nn.Module<Tensor, Tensor>
{
    private readonly MultiheadAttention attention = nn.MultiheadAttention(4, 2);
    private readonly Linear head;

    public AttendsOverRows(NetOptions o) : base(nameof(AttendsOverRows))
    {
        head = nn.Linear(4, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var steps = x.view(x.shape[0], -1, 4);
        return head.call(attention.call(steps, steps, steps).Item1.mean([1]));
    }
}

public sealed class MixesRows(NetOptions o) : BadModule(o, nameof(MixesRows))
{
    public override Tensor forward(Tensor x) => layer.call(x - x.sum(0) / 100);
}

public sealed class Rounds(NetOptions o) : BadModule(o, nameof(Rounds))
{
    public override Tensor forward(Tensor x) => layer.call(x.clone().round_());
}

public sealed class WorksInPlace(NetOptions o) : BadModule(o, nameof(WorksInPlace))
{
    public override Tensor forward(Tensor x) => layer.call(nn.functional.celu(x.clone(), 1, inplace: true));
}

public sealed class ReadsOne(NetOptions o) : BadModule(o, nameof(ReadsOne))
{
    public override Tensor forward(Tensor x) => x.mean().ReadCpuSingle(0) > 0 ? layer.call(x) : layer.call(-x);
}

public sealed class ComparesAll(NetOptions o) : BadModule(o, nameof(ComparesAll))
{
    public override Tensor forward(Tensor x) => x.allclose(x * 1.5) ? layer.call(x) : layer.call(-x);
}

public sealed class Noisy(NetOptions o) : BadModule(o, nameof(Noisy))
{
    public override Tensor forward(Tensor x) => layer.call(x + rand(x.shape));
}

public sealed class PoolsUnevenly(NetOptions o) : BadModule(o with { Inputs = 3 }, nameof(PoolsUnevenly))
{
    public override Tensor forward(Tensor x) => layer.call(nn.functional.adaptive_avg_pool1d(x.unsqueeze(1), 3).squeeze(1));
}

/// <summary>Parts of a parameter by numbers that are gone with the instance that was traced.</summary>
public sealed class IndexesParameter : nn.Module<Tensor, Tensor>
{
    private readonly Parameter table;
    private readonly Linear layer;

    public IndexesParameter(NetOptions o) : base(nameof(IndexesParameter))
    {
        (table, layer) = (nn.Parameter(randn(5, o.Inputs)), nn.Linear(o.Inputs, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => layer.call(x + table[TensorIndex.Tensor(arange(1, 2))]);
}

/// <summary>A loss, or metrics, that no job can train by.</summary>
public sealed class BadLoss(BadLossOptions o) : BadModule(new NetOptions(10, 1), nameof(BadLoss)), IModuleLoss, IModuleMetrics
{
    public Tensor Loss(Tensor outputs, Tensor labels, Tensor weights) => o.Loss switch
    {
        "throws" => throw new InvalidOperationException("no such loss"),
        "null" => null!,
        "columns" => cat([outputs - labels, labels], 1),
        "double" => (outputs - labels).square().to(ScalarType.Float64),
        "detached" => (outputs - labels).detach().square(),
        "nan" => (outputs * 0).log() * 0,
        "sum" => (outputs - labels).square().sum(),
        "broadcast" => (outputs - labels.reshape(-1)).square().mean(),
        _ => (outputs - labels).square(),
    };

    public IReadOnlyDictionary<string, Tensor> Metrics(Tensor outputs, Tensor labels, Tensor weights) => o.Metrics switch
    {
        "throws" => throw new InvalidOperationException("no such metric"),
        "null" => null!,
        "name" => new Dictionary<string, Tensor> { ["a\nb"] = outputs },
        "taken" => new Dictionary<string, Tensor> { ["rsquared"] = outputs },
        "many" => Enumerable.Range(0, 25).ToDictionary(i => $"m{i}", _ => outputs),
        "columns" => new Dictionary<string, Tensor> { ["wide"] = cat([outputs, labels], 1) },
        "infinite" => new Dictionary<string, Tensor> { ["ratio"] = labels / 0f },
        "sum" => new Dictionary<string, Tensor> { ["total"] = labels.abs().sum() },
        _ => new Dictionary<string, Tensor>(),
    };
}

/// <summary>A step that is no mean by weights.</summary>
public sealed class BadStep(string how) : BadModule(new NetOptions(10, 1), nameof(BadStep)), ITrainingStep
{
    public Tensor TrainingStep(TrainingBatch batch)
    {
        var losses = (call(batch.Features) - batch.Labels).square();
        return how switch
        {
            "sum" => losses.sum(),
            "unweighted" => losses.mean(),
            "together" => losses.max(),
            "mean" => (losses * batch.Weights).sum() / batch.Weights.sum(),
            _ => losses + rand_like(losses),
        };
    }
}

public sealed record BadLossOptions(string Loss = "", string Metrics = "");
