using Microsoft.ML.Distributed;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchModules;

/// <summary>A key, several keys, and numbers.</summary>
public sealed record RatingInputs(Tensor User, Tensor Tags, Tensor Prices);

/// <summary>A module of several inputs; of Width users and one tag less.</summary>
public sealed class RatingNet : nn.Module<RatingInputs, Tensor>
{
    private const int Size = 8;
    private readonly Embedding users;
    private readonly Embedding tags;
    private readonly Linear prices;
    private readonly Linear head;

    public RatingNet(NetOptions o) : base(nameof(RatingNet))
    {
        users = nn.Embedding(o.Width + 1, Size);
        tags = nn.Embedding(o.Width, Size);
        prices = nn.Linear(o.Inputs, Size);
        head = nn.Linear(3 * Size, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(RatingInputs inputs) => head.call(nn.functional.relu(
        cat([users.call(inputs.User).flatten(1), tags.call(inputs.Tags).mean([1L]), prices.call(inputs.Prices)], 1)));
}

/// <summary>A number and a key, to be foretold.</summary>
public sealed record Bought(Tensor Paid, Tensor Item);

/// <summary>What is foretold: a number, a score for each of some keys, and a place of the user.</summary>
public sealed record Forecast(Tensor Amount, Tensor Items, Tensor Place);

/// <summary>A module of several inputs and outputs, of Width users and Outputs items.</summary>
public class ShopNet : nn.Module<RatingInputs, Forecast>, IModuleLoss<Forecast, Bought>, IModuleMetrics<Forecast, Bought>
{
    private const int Size = 8;
    private readonly Embedding users;
    private readonly Embedding tags;
    private readonly Linear prices;
    private readonly Linear body;
    private readonly Linear amount;
    private readonly Linear items;

    public ShopNet(NetOptions o) : base(nameof(ShopNet))
    {
        (users, tags, prices) = (nn.Embedding(o.Width + 1, Size), nn.Embedding(5, Size), nn.Linear(o.Inputs, Size));
        (body, amount, items) = (nn.Linear(3 * Size, 32), nn.Linear(32, 1), nn.Linear(32, o.Outputs));
        RegisterComponents();
    }

    public override Forecast forward(RatingInputs inputs)
    {
        var place = users.call(inputs.User).flatten(1);
        var x = nn.functional.relu(body.call(cat([place, tags.call(inputs.Tags).mean([1L]), prices.call(inputs.Prices)], 1)));
        return new(amount.call(x), items.call(x), place * 1f);
    }

    public virtual Tensor Loss(Forecast outputs, Bought labels, Tensor weights) =>
        (outputs.Amount - labels.Paid).square().squeeze(1) + nn.functional.cross_entropy(outputs.Items, labels.Item.squeeze(1) - 1, reduction: nn.Reduction.None);

    public IReadOnlyDictionary<string, Tensor> Metrics(Forecast outputs, Bought labels, Tensor weights) => new Dictionary<string, Tensor>
    {
        ["Right items"] = outputs.Items.argmax(1, keepdim: true).eq(labels.Item - 1),
    };
}

/// <summary>The same with a training step, which counts the items twice in the first epoch.</summary>
public sealed class SteppedShopNet(NetOptions o) : ShopNet(o), ITrainingStep<RatingInputs, Bought>
{
    public Tensor TrainingStep(TrainingBatch<RatingInputs, Bought> batch)
    {
        var outputs = call(batch.Inputs);
        var loss = Loss(outputs, batch.Labels, batch.Weights);
        return batch.Epoch > 1 ? loss : loss + nn.functional.cross_entropy(outputs.Items, batch.Labels.Item.squeeze(1) - 1, reduction: nn.Reduction.None);
    }
}

/// <summary>Several inputs, one output, and a training step.</summary>
public sealed class SteppedRatingNet : nn.Module<RatingInputs, Tensor>, IModuleLoss, ITrainingStep<RatingInputs, Tensor>
{
    private readonly RatingNet net;

    public SteppedRatingNet(NetOptions o) : base(nameof(SteppedRatingNet))
    {
        net = new RatingNet(o);
        RegisterComponents();
    }

    public override Tensor forward(RatingInputs inputs) => net.call(inputs);

    public Tensor Loss(Tensor outputs, Tensor labels, Tensor weights) => (outputs - labels).square();

    public Tensor TrainingStep(TrainingBatch<RatingInputs, Tensor> batch) => Loss(call(batch.Inputs), batch.Labels, batch.Weights);
}

/// <summary>A module of several outputs that no job can train; how is an option.</summary>
public sealed class BadShopNet : nn.Module<RatingInputs, Forecast>, IModuleLoss<Forecast, Bought>
{
    private readonly BadShopOptions o;
    private readonly TorchSharp.Modules.Parameter weight = nn.Parameter(ones(2, 3));

    public BadShopNet(BadShopOptions o) : base(nameof(BadShopNet))
    {
        this.o = o;
        RegisterComponents();
    }

    public override Forecast forward(RatingInputs inputs)
    {
        var numbers = matmul(inputs.Prices, weight);
        return o.How switch
        {
            "missing" => new(numbers, null!, numbers),
            "shape" => new(numbers, numbers.sum(1), numbers),
            "type" => new(numbers, numbers.to(ScalarType.Float64), numbers),
            _ => new(numbers, numbers * 2, numbers * 3),
        };
    }

    public Tensor Loss(Forecast outputs, Bought labels, Tensor weights) => o.How == "sum" ? outputs.Amount.sum() : (outputs.Amount - labels.Paid).square().mean([1]);
}

public sealed record BadShopOptions(string How);
