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
