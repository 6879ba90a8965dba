using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchModules;

/// <summary>Steps of four features, a bidirectional LSTM of two layers over them, and what it says last.</summary>
public sealed class LstmNet : nn.Module<Tensor, Tensor>
{
    private readonly LSTM memory;
    private readonly Linear head;

    public LstmNet(NetOptions o) : base(nameof(LstmNet))
    {
        (memory, head) = (nn.LSTM(4, o.Width, numLayers: 2, batchFirst: true, bidirectional: true), nn.Linear(2 * o.Width, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var (output, _, _) = memory.call(x.view(x.shape[0], -1, 4));
        return head.call(output.select(1, -1));
    }
}

/// <summary>Steps before rows, and the last layer's hidden state.</summary>
public sealed class GruNet : nn.Module<Tensor, Tensor>
{
    private readonly GRU memory;
    private readonly Linear head;

    public GruNet(NetOptions o) : base(nameof(GruNet))
    {
        (memory, head) = (nn.GRU(4, o.Width, numLayers: 2), nn.Linear(o.Width, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var (_, state) = memory.call(x.reshape(-1, x.shape[1] / 4, 4).transpose(0, 1));
        return head.call(nn.functional.relu(state[-1])).MoveToOuterDisposeScope();
    }
}

/// <summary>Elman's network with a rectifier, both ends of its output, and the mean over steps.</summary>
public sealed class ElmanNet : nn.Module<Tensor, Tensor>
{
    private readonly RNN memory;
    private readonly Linear head;

    public ElmanNet(NetOptions o) : base(nameof(ElmanNet))
    {
        (memory, head) = (nn.RNN(4, 8, nonLinearity: nn.NonLinearities.ReLU, batchFirst: true, bias: false), nn.Linear(24, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var output = memory.call(x.view(x.shape[0], x.shape[1] / 4, 4)).Item1;
        return head.call(cat([output[.., 0], output[.., ^1], output.mean([1])], dim: 1));
    }
}

/// <summary>A cell of the user's own, step by step, beginning with zeros.</summary>
public sealed class OwnCell : nn.Module<Tensor, Tensor>
{
    private readonly Linear input;
    private readonly Linear hidden;
    private readonly Linear head;

    public OwnCell(NetOptions o) : base(nameof(OwnCell))
    {
        (input, hidden, head) = (nn.Linear(4, 8), nn.Linear(8, 8, hasBias: false), nn.Linear(8, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var state = zeros(x.shape[0], 8);
        foreach (var step in x.view(x.shape[0], -1, 4).unbind(1))
            state = tanh(input.call(step) + hidden.call(state));
        return head.call(state);
    }
}

/// <summary>An encoder of the user's own writing: a token for the class, positions, heads, a normalisation before each block.</summary>
public sealed class OwnTransformer : nn.Module<Tensor, Tensor>
{
    private readonly Linear embed;
    private readonly Parameter token;
    private readonly Parameter positions;
    private readonly ModuleList<OwnBlock> blocks;
    private readonly LayerNorm norm;
    private readonly Linear head;

    public OwnTransformer(NetOptions o) : base(nameof(OwnTransformer))
    {
        var steps = o.Inputs / 4;
        embed = nn.Linear(4, o.Width);
        token = nn.Parameter(randn(1, 1, o.Width) * 0.2);
        positions = nn.Parameter(randn(1, steps + 1, o.Width) * 0.2);
        blocks = nn.ModuleList(new OwnBlock(o.Width, 4), new OwnBlock(o.Width, 2));
        norm = nn.LayerNorm(o.Width);
        head = nn.Linear(2 * o.Width, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var tokens = embed.call(x.view(x.shape[0], -1, 4));
        tokens = cat([token.expand(x.shape[0], -1, -1), tokens], 1) + positions;
        foreach (var block in blocks)
            tokens = block.call(tokens);
        tokens = norm.call(tokens);
        return head.call(cat([tokens[.., 0], tokens.narrow(1, 1, tokens.shape[1] - 1).mean([1])], -1));
    }
}

public sealed class OwnBlock : nn.Module<Tensor, Tensor>
{
    private readonly long heads;
    private readonly LayerNorm norm1;
    private readonly Linear all;
    private readonly Linear mix;
    private readonly LayerNorm norm2;
    private readonly Linear up;
    private readonly Linear down;
    private readonly Dropout dropout;

    public OwnBlock(long width, long heads) : base(nameof(OwnBlock))
    {
        this.heads = heads;
        (norm1, all, mix, norm2, up, down, dropout) = (nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width), nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width), nn.Dropout(0.1));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        x = x + dropout.call(Attend(norm1.call(x)));
        return x + down.call(nn.functional.gelu(up.call(norm2.call(x))));
    }

    private Tensor Attend(Tensor x)
    {
        var (rows, steps, width) = (x.shape[0], x.shape[1], x.shape[2]);
        var parts = all.call(x).view(rows, steps, 3, heads, width / heads).permute(2, 0, 3, 1, 4).unbind(0);
        var scores = parts[0].matmul(parts[1].transpose(-2, -1)) / Math.Sqrt(width / heads);
        var causal = ones(steps, steps, dtype: ScalarType.Bool).triu(1);
        var shares = scores.masked_fill(causal, double.NegativeInfinity).softmax(-1);
        return mix.call(shares.matmul(parts[2]).transpose(1, 2).reshape(rows, steps, width));
    }
}

/// <summary>The heads as rows of their own, as libtorch's own attention has them, and a scaled dot product.</summary>
public sealed class FoldedHeads : nn.Module<Tensor, Tensor>
{
    private readonly Linear all = nn.Linear(4, 24);
    private readonly Linear head;

    public FoldedHeads(NetOptions o) : base(nameof(FoldedHeads))
    {
        head = nn.Linear(16, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var (rows, steps) = (x.shape[0], x.shape[1] / 4);
        var parts = all.call(x.reshape(-1, 4)).view(rows, steps, 24).transpose(0, 1).chunk(3, -1);
        var folded = parts.Select(p => p.contiguous().view(steps, rows * 2, 4).transpose(0, 1)).ToArray();
        var mixed = softmax(bmm(folded[0], folded[1].transpose(1, 2)) * 0.5, -1).bmm(folded[2]);
        var one = mixed.transpose(0, 1).contiguous().view(steps, rows, 8).transpose(0, 1);
        var heads = parts.Select(p => p.transpose(0, 1).reshape(rows, steps, 2, 4).transpose(1, 2)).ToArray();
        var other = nn.functional.scaled_dot_product_attention(heads[0], heads[1], heads[2]).transpose(1, 2).flatten(2);
        return head.call(cat([one.sum(1), other.amax([1])], 1));
    }
}

/// <summary>TorchSharp's own encoder and attention.</summary>
public sealed class StockTransformer : nn.Module<Tensor, Tensor>
{
    private readonly Linear embed;
    private readonly TransformerEncoder encoder;
    private readonly MultiheadAttention attention;
    private readonly Linear head;

    public StockTransformer(NetOptions o) : base(nameof(StockTransformer))
    {
        embed = nn.Linear(4, 16);
        encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, 0.1, nn.Activations.GELU), 2);
        attention = nn.MultiheadAttention(16, 2);
        head = nn.Linear(16, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var steps = encoder.call(embed.call(x.view(x.shape[0], -1, 4)).transpose(0, 1), null!, null!);
        var (mixed, _) = attention.call(steps, steps, steps);
        return head.call((steps + mixed).mean([0]));
    }
}

/// <summary>Two columns of ids and the rest numbers; positions are looked up too.</summary>
public sealed class EmbeddingNet : nn.Module<Tensor, Tensor>
{
    private readonly Embedding ids = nn.Embedding(50, 6);
    private readonly Embedding places = nn.Embedding(2, 6);
    private readonly Linear head;

    public EmbeddingNet(NetOptions o) : base(nameof(EmbeddingNet))
    {
        head = nn.Linear(12 + o.Inputs - 2, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var tokens = ids.call(x[.., ..2].to(ScalarType.Int64)) + places.call(arange(2));
        return head.call(cat([tokens.flatten(1), x[.., 2..]], dim: 1));
    }
}

/// <summary>What users write between layers.</summary>
public sealed class Functions : nn.Module<Tensor, Tensor>
{
    private readonly Linear left;
    private readonly Linear right;
    private readonly Parameter scale;
    private readonly Parameter weights;
    private readonly Linear head;

    public Functions(NetOptions o) : base(nameof(Functions))
    {
        (left, right, head) = (nn.Linear(o.Inputs, 6), nn.Linear(o.Inputs, 6), nn.Linear(6, o.Outputs));
        (scale, weights) = (nn.Parameter(ones(6) * 0.5), nn.Parameter(randn(12, 6) * 0.3));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var (a, b) = (left.call(x), right.call(x));
        var both = cat([a, b.sin().abs().clamp(0.01, 0.9).sqrt()], 1).matmul(weights) * scale.exp() + 1;
        both = both.sub(both.mean([1], keepdim: true)).div((both.pow(2).mean([1], keepdim: true) + 1e-3).sqrt());
        var parts = stack([both, a, -b], 1);
        var best = parts.max(1).values;
        var (low, high) = (parts.chunk(2, -1)[0].sum(-1), parts.transpose(1, 2)[.., 3..].mean([2]));
        var gate = nn.functional.softplus(low).add(1).log().neg().exp() + 0.5f * high;
        gate.mul_(0.5);
        return head.call(2 - best * cat([gate, gate.square()], 1) / 3);
    }
}

/// <summary>Normalisations of groups and instances, and convolutions in groups, dilated.</summary>
public sealed class GroupedCnn : nn.Module<Tensor, Tensor>
{
    private readonly nn.Module<Tensor, Tensor> layers;
    private readonly Linear head;

    public GroupedCnn(NetOptions o) : base(nameof(GroupedCnn))
    {
        layers = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding: 2, dilation: 2), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding: 1, groups: 4), nn.InstanceNorm2d(8, affine: true), nn.ReLU());
        head = nn.Linear(8, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var planes = layers.call(x.view(-1, 2, 6, 6));
        planes = nn.functional.max_pool2d(planes, 2);
        return head.call(nn.functional.adaptive_avg_pool2d(planes, 1).squeeze(-1).squeeze(-1));
    }
}

/// <summary>Comparisons of values with one another, with numbers and with a parameter, and what is made of their truths.</summary>
public sealed class Compared : nn.Module<Tensor, Tensor>
{
    private readonly Parameter limits = nn.Parameter(linspace(-0.5, 0.5, 6));
    private readonly Linear head;

    public Compared(NetOptions o) : base(nameof(Compared))
    {
        head = nn.Linear(6, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var (a, b) = (x[.., ..6], x[.., 6..]);
        var (above, equal) = (a > limits, a.sign().eq(b.sign()));
        var chosen = where(above & ~equal | b.le(-1), a * 2, b - 1) + equal.to(ScalarType.Float32) - a.ge(b).@float() * 0.5f;
        chosen = chosen.masked_fill(a.lt(-0.7), 3).where(b.ne(0), zeros(6)) * (b != 1);
        var odd = arange(6).remainder(2).eq(1);
        chosen = where(odd, chosen, chosen.square()).masked_fill(odd.logical_not(), 0.25) + where(above.logical_xor(equal), 1f, b);
        return head.call(chosen + above.sum(1, keepdim: true) * 0.1f + (above & equal).any(1, keepdim: true).@float() - above.all(1, keepdim: true).@float());
    }
}

/// <summary>Truths as numbers, numbers as truths, and counts of them; what a constant mask hides is infinite.</summary>
public sealed class Truths : nn.Module<Tensor, Tensor>
{
    private readonly Linear head;

    public Truths(NetOptions o) : base(nameof(Truths))
    {
        head = nn.Linear(6, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var (a, b, third) = (x[.., ..6], x[.., 6..], arange(6).eq(2));
        var keep = where(a.gt(0), b.lt(1), b.gt(0));
        keep = where(third, ~keep, keep) & a.gt(float.NegativeInfinity);
        var count = keep.sum(1, keepdim: true);
        var mean = b.masked_fill(~keep, 0).sum(1, keepdim: true) / count.clamp_min(1) + count.sqrt() * 0.1f;
        var hidden = (a.masked_fill(third, 0).square() + (~third).@float()).reciprocal().masked_fill(third, 0);
        var highest = nn.functional.max_pool1d(nn.functional.pad(a.unsqueeze(1), [1, 1, 0, 0], PaddingModes.Constant, float.NegativeInfinity), 3, 1).squeeze(1);
        return head.call(mean + hidden + highest + (b * 1).gt_(0) * a + nn.functional.pad(keep[.., 1..], [1, 0]).@float());
    }
}

/// <summary>Functions that pad.</summary>
public sealed class Padded : nn.Module<Tensor, Tensor>
{
    private readonly Linear head;

    public Padded(NetOptions o) : base(nameof(Padded))
    {
        head = nn.Linear((o.Inputs / 3) + 7, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var planes = x.view(x.shape[0], 3, -1);
        var padded = nn.functional.pad(planes, [2, 1], PaddingModes.Reflect);
        padded = nn.functional.pad(padded, [1, 1, 0, 1], PaddingModes.Constant, 0.5);
        return head.call(nn.functional.pad(padded, [0, 2], PaddingModes.Circular).sum(1));
    }
}

/// <summary>Attention to the first step and those whose first number is above -1, by masks that rows have, and their mean.</summary>
public sealed class PaddingMasks : nn.Module<Tensor, Tensor>
{
    private readonly Linear embed;
    private readonly Linear head;

    public PaddingMasks(NetOptions o) : base(nameof(PaddingMasks))
    {
        (embed, head) = (nn.Linear(4, 8), nn.Linear(8, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var steps = x.view(x.shape[0], -1, 4);
        var isThere = (steps[.., .., 0] > -1) | arange(steps.shape[1]).eq(0);
        var y = embed.call(steps);
        var scores = y.matmul(y.transpose(1, 2)).masked_fill(~isThere.unsqueeze(1), float.NegativeInfinity);
        var mixed = scores.softmax(-1).matmul(y) + nn.functional.scaled_dot_product_attention(y, y, y, isThere.unsqueeze(1));
        var counted = isThere.unsqueeze(2).@float();
        return head.call((mixed * counted).sum(1) / counted.sum(1).clamp_min(1));
    }
}
