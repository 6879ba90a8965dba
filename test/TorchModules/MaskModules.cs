using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchModules;

/// <summary>Ids of which 0 is padding: TorchSharp's own encoder, a layer of it, and attention, each with masks of its steps and of the padding.</summary>
public sealed class PaddedIds : nn.Module<Tensor, Tensor>
{
    private readonly Embedding words = nn.Embedding(50, 8);
    private readonly TransformerEncoder encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 4, 16, 0.1), 2);
    private readonly TransformerEncoderLayer layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, nn.Activations.GELU);
    private readonly MultiheadAttention attention = nn.MultiheadAttention(8, 2);
    private readonly Linear head;

    public PaddedIds(NetOptions o) : base(nameof(PaddedIds))
    {
        head = nn.Linear(8 + o.Inputs, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var ids = x.to(ScalarType.Int64);
        var steps = ids.shape[1];
        var isPadding = ids.eq(0) & arange(steps).ne(0); // one is always there
        var later = zeros(steps, steps).masked_fill(ones(steps, steps, dtype: ScalarType.Bool).triu(1), float.NegativeInfinity);
        var y = encoder.call(words.call(ids).transpose(0, 1), later, isPadding);
        y = layer.call(y, null!, isPadding);
        var (mixed, shares) = attention.call(y, y, y, isPadding, true, later);
        var isThere = (~isPadding).transpose(0, 1).unsqueeze(2).@float();
        return head.call(cat([(mixed * isThere).sum([0]) / isThere.sum([0]), shares.mean([1])], 1));
    }
}

/// <summary>Masks of numbers: one that is learnt, one of another number of keys than steps, and a padding that is the same for all rows; and, by functions, one for each row and head.</summary>
public sealed class AddedMasks : nn.Module<Tensor, Tensor>
{
    private const int Heads = 2;
    private readonly Linear embed = nn.Linear(4, 8);
    private readonly TransformerEncoderLayer learning = nn.TransformerEncoderLayer(8, 4, 16, 0.1);
    private readonly MultiheadAttention narrow = nn.MultiheadAttention(8, Heads, bias: false);
    private readonly Parameter distances;
    private readonly Linear head;

    public AddedMasks(NetOptions o) : base(nameof(AddedMasks))
    {
        distances = nn.Parameter(randn(o.Inputs / 4, o.Inputs / 4));
        head = nn.Linear(8, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var tokens = x.view(x.shape[0], -1, 4);
        var (rows, steps) = (tokens.shape[0], tokens.shape[1]);
        var y = learning.call(embed.call(tokens).transpose(0, 1), distances.tanh());
        var few = y.narrow(0, 0, 3);
        var isPadding = zeros(rows, 3, dtype: ScalarType.Bool);
        isPadding[.., 2..] = true;
        y = y + narrow.call(y, few, few, isPadding, false, distances.narrow(1, 0, 3)).Item1;
        var folded = y.contiguous().view(steps, rows * Heads, 4).transpose(0, 1);
        var apart = (tokens[.., .., 0].unsqueeze(2) - tokens[.., .., 0].unsqueeze(1)).abs();
        var scores = folded.bmm(folded.transpose(1, 2)) - apart.repeat_interleave(Heads, 0);
        var mixed = scores.softmax(-1).bmm(folded).transpose(0, 1).contiguous().view(steps, rows, 8).transpose(0, 1);
        return head.call(mixed.repeat_interleave(2, -2).narrow(1, 1, 4).mean([1]));
    }
}

/// <summary>A constant beside infinite numbers.</summary>
public sealed class PaddedInfinite : nn.Module<Tensor, Tensor>
{
    private readonly Linear head;

    public PaddedInfinite(NetOptions o) : base(nameof(PaddedInfinite))
    {
        head = nn.Linear(o.Inputs + 6, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var padded = nn.functional.pad(nn.functional.relu(x).log(), [1, 2], PaddingModes.Constant, 0.25); // -inf of what is not above 0
        return head.call(nn.functional.pad(padded.unsqueeze(1), [1, 2, 1, 0]).exp().sum(1));
    }
}

/// <summary>Keys that nearly all rows hide but for the first, so that what comes out does not tell the number of heads.</summary>
public sealed class HiddenKeys : nn.Module<Tensor, Tensor>
{
    private readonly MultiheadAttention attention = nn.MultiheadAttention(4, 2);
    private readonly TransformerEncoderLayer layer = nn.TransformerEncoderLayer(4, 4, 8, 0.1, nn.Activations.GELU);
    private readonly Linear head;

    public HiddenKeys(NetOptions o) : base(nameof(HiddenKeys))
    {
        head = nn.Linear(4, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var rows = x.view(x.shape[0], -1, 4);
        var isHidden = rows.sum(2).lt(9) & arange(rows.shape[1]).ne(0);
        var steps = layer.call(rows.transpose(0, 1), null!, isHidden);
        return head.call(attention.call(steps, steps, steps, isHidden, false, null!).Item1.mean([0]));
    }
}

/// <summary>Ids with another before them.</summary>
public sealed class FirstToken : nn.Module<Tensor, Tensor>
{
    private readonly ConstantPad1d first = nn.ConstantPad1d((1, 0), 1);
    private readonly Embedding words = nn.Embedding(50, 4);
    private readonly ReLU positive = nn.ReLU();
    private readonly Linear head;

    public FirstToken(NetOptions o) : base(nameof(FirstToken))
    {
        head = nn.Linear(4, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => head.call(words.call(positive.call(first.call(x.to(ScalarType.Int64))).clamp(0, 49)).mean([1]));
}

/// <summary>What is never a number.</summary>
public sealed class NeverFinite : nn.Module<Tensor, Tensor>
{
    private readonly Linear head;

    public NeverFinite(NetOptions o) : base(nameof(NeverFinite))
    {
        head = nn.Linear(o.Inputs, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => head.call(x) + (x.square().sum(1, keepdim: true) + 1).neg().sqrt();
}

/// <summary>A mask by a function that is not known.</summary>
public sealed class MasksByUnknown : nn.Module<Tensor, Tensor>
{
    private readonly MultiheadAttention attention = nn.MultiheadAttention(4, 2);
    private readonly Linear head;

    public MasksByUnknown(NetOptions o) : base(nameof(MasksByUnknown))
    {
        head = nn.Linear(4, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var steps = x.view(x.shape[0], -1, 4).transpose(0, 1);
        return head.call(attention.call(steps, steps, steps, x.cumsum(1)[.., ..2].gt(100), false, null!).Item1.mean([0]));
    }
}

/// <summary>A mask of truths, which libtorch adds to scores.</summary>
public sealed class MasksByTruths : nn.Module<Tensor, Tensor>
{
    private readonly TransformerEncoder encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 1);
    private readonly Linear head;

    public MasksByTruths(NetOptions o) : base(nameof(MasksByTruths))
    {
        head = nn.Linear(4, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) =>
        head.call(encoder.call(x.view(x.shape[0], -1, 4).transpose(0, 1), ones(2, 2, dtype: ScalarType.Bool).triu(1), null!).mean([0]));
}

/// <summary>A layer that would take places away.</summary>
public sealed class PadsByLess : nn.Module<Tensor, Tensor>
{
    private readonly ConstantPad1d pad = nn.ConstantPad1d(-1, 0);
    private readonly Linear head;

    public PadsByLess(NetOptions o) : base(nameof(PadsByLess))
    {
        head = nn.Linear(o.Inputs - 2, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => head.call(pad.call(x));
}
