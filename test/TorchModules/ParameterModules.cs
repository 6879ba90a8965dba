using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchModules;

/// <summary>Values made of parameters alone, given as lists and as collections.</summary>
public sealed class ParametersAlone : nn.Module<Tensor, Tensor>
{
    private readonly Parameter first;
    private readonly Parameter second;
    private readonly Linear head;

    public ParametersAlone(NetOptions o) : base(nameof(ParametersAlone))
    {
        (first, second, head) = (nn.Parameter(randn(2, o.Inputs) * 0.3), nn.Parameter(randn(2, o.Inputs) * 0.3), nn.Linear(16, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var listed = x.matmul(cat(new List<Tensor> { first, second }, 0).t());
        var given = x.matmul(cat([first, second], 0).t());
        var stacked = x.matmul(stack(new List<Tensor> { first * 2, second }, 0).reshape(4, -1).t());
        var wide = x[.., ..1].tile([4]);
        return head.call(cat([listed, given, stacked, wide], 1));
    }
}

/// <summary>Attention with a mask of infinite numbers, kept as a buffer.</summary>
public sealed class MaskedAttention : nn.Module<Tensor, Tensor>
{
    private readonly Tensor mask;
    private readonly Linear head;

    public MaskedAttention(NetOptions o) : base(nameof(MaskedAttention))
    {
        var steps = o.Inputs / 4;
        (mask, head) = (full(steps, steps, float.NegativeInfinity).triu(1), nn.Linear(4, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var steps = x.view(x.shape[0], -1, 4);
        var shares = (steps.matmul(steps.transpose(1, 2)) + mask).softmax(-1);
        return head.call(shares.matmul(steps).mean([1]));
    }
}

/// <summary>One matrix at every step.</summary>
public sealed class RepeatedProduct : nn.Module<Tensor, Tensor>
{
    private readonly Parameter matrix;
    private readonly Linear head;

    public RepeatedProduct(NetOptions o) : base(nameof(RepeatedProduct))
    {
        (matrix, head) = (nn.Parameter(randn(4, 4) * 0.4), nn.Linear(4, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var state = zeros(x.shape[0], 4);
        foreach (var step in x.view(x.shape[0], -1, 4).unbind(1))
            state = tanh((step + state).matmul(matrix));
        return head.call(state);
    }
}

/// <summary>Elman's network with a tanh, whose numbers are all above 0.</summary>
public sealed class PositiveElman : nn.Module<Tensor, Tensor>
{
    private readonly RNN memory;
    private readonly Linear head;

    public PositiveElman(NetOptions o) : base(nameof(PositiveElman))
    {
        (memory, head) = (nn.RNN(4, 8, numLayers: 2, batchFirst: true, bidirectional: true), nn.Linear(16, o.Outputs));
        using (no_grad())
            foreach (var (name, parameter) in memory.named_parameters())
                if (name.StartsWith("bias", StringComparison.Ordinal))
                    parameter.fill_(4);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => head.call(memory.call(x.view(x.shape[0], -1, 4)).Item1.mean([1]));
}
