using Microsoft.ML.Distributed;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchModules;

/// <summary>A frozen layer, one that is to learn slowly, and a head.</summary>
public class GroupedNet : nn.Module<Tensor, Tensor>, IParameterGroups
{
    protected readonly Linear stem;
    protected readonly Linear body;
    protected readonly Linear head;

    public GroupedNet(NetOptions o) : base(nameof(GroupedNet))
    {
        (stem, body, head) = (nn.Linear(o.Inputs, o.Width), nn.Linear(o.Width, o.Width), nn.Linear(o.Width, o.Outputs));
        RegisterComponents();
    }

    public virtual IEnumerable<ParameterGroup> ConfigureOptimizer() =>
    [
        new("stem.*") { IsFrozen = true },
        new("body.*") { LearningRateFactor = 0.25, WeightDecay = 0.1 },
        new(name => name == "head.weight") { WeightDecay = 0 },
    ];

    public override Tensor forward(Tensor x) => head.call(nn.functional.relu(body.call(nn.functional.relu(stem.call(x)))));
}

/// <summary>A module with a loss, a training step and metrics of its own. Which of them compute what is an option.</summary>
public class OwnTraining : GroupedNet, IModuleLoss, IModuleMetrics
{
    public OwnTraining(NetOptions o) : base(o) { }

    // The task's own loss, by hand: rows one by one of classes, a mean by weights of numbers.
    public virtual Tensor Loss(Tensor outputs, Tensor labels, Tensor weights) => labels.dtype == ScalarType.Int64
        ? nn.functional.cross_entropy(outputs, labels, reduction: nn.Reduction.None)
        : ((outputs - labels).square() * weights).sum() / weights.sum();

    public virtual IReadOnlyDictionary<string, Tensor> Metrics(Tensor outputs, Tensor labels, Tensor weights) => new Dictionary<string, Tensor>
    {
        ["Mean label"] = labels,
        ["Right"] = outputs.argmax(1).eq(labels.reshape(-1)),
        ["Mean output"] = (outputs.mean([1]) * weights.reshape(-1)).sum() / weights.sum(),
    };
}

/// <summary>The same with a training step.</summary>
public sealed class OwnSteps(NetOptions o) : OwnTraining(o), ITrainingStep
{
    public Tensor TrainingStep(TrainingBatch batch)
    {
        using var scope = NewDisposeScope();
        var loss = Loss(call(batch.Features), batch.Labels, batch.Weights);
        return (batch.Epoch == 1 ? loss : loss * 0.5f).MoveToOuterDisposeScope();
    }
}
