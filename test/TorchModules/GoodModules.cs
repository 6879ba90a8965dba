using Microsoft.ML.Distributed;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchModules;

public sealed record NetOptions(int Inputs, int Outputs, int Width = 32);

/// <summary>Layers in a row, with batch normalisation and dropout.</summary>
public sealed class NormNet : nn.Module<Tensor, Tensor>
{
    private readonly nn.Module<Tensor, Tensor> layers;

    public NormNet(NetOptions o) : base(nameof(NormNet))
    {
        layers = nn.Sequential(
            nn.Linear(o.Inputs, o.Width), nn.BatchNorm1d(o.Width), nn.ReLU(), nn.Dropout(0.1),
            nn.Sequential(nn.Linear(o.Width, o.Width), nn.LayerNorm(o.Width), nn.GELU()),
            nn.Linear(o.Width, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => layers.call(x);
}

/// <summary>Convolutions over 8 x 8 images, with functions between the layers.</summary>
public sealed class SmallCnn : nn.Module<Tensor, Tensor>
{
    private readonly Conv2d conv1 = nn.Conv2d(1, 8, 3, padding: 1, bias: false);
    private readonly BatchNorm2d norm1 = nn.BatchNorm2d(8);
    private readonly Conv2d conv2 = nn.Conv2d(8, 16, 3, stride: 1, padding: 1);
    private readonly AdaptiveAvgPool2d pool = nn.AdaptiveAvgPool2d(1);
    private readonly Linear head;

    public SmallCnn(NetOptions o) : base(nameof(SmallCnn))
    {
        head = nn.Linear(16, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        x = x.view(-1, 1, 8, 8);
        x = nn.functional.max_pool2d(nn.functional.relu(norm1.call(conv1.call(x))), 2);
        x = nn.functional.relu(conv2.call(x));
        return head.call(pool.call(x).flatten(1));
    }
}

/// <summary>A block whose input is added to its output.</summary>
public sealed class Residual : nn.Module<Tensor, Tensor>
{
    private readonly Linear first;
    private readonly BatchNorm1d norm;
    private readonly Linear second;

    public Residual(int size) : base(nameof(Residual))
    {
        (first, norm, second) = (nn.Linear(size, size), nn.BatchNorm1d(size), nn.Linear(size, size));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return nn.functional.relu(x + second.call(nn.functional.relu(norm.call(first.call(x))))).MoveToOuterDisposeScope();
    }
}

public sealed class ResidualNet : nn.Module<Tensor, Tensor>
{
    private readonly Linear stem;
    private readonly Residual block1;
    private readonly Residual block2;
    private readonly Linear head;

    public ResidualNet(NetOptions o) : base(nameof(ResidualNet))
    {
        (stem, block1, block2, head) = (nn.Linear(o.Inputs, o.Width), new Residual(o.Width), new Residual(o.Width), nn.Linear(o.Width, o.Outputs));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => head.call(block2.call(block1.call(stem.call(x))));
}

/// <summary>What cannot be seen, said by the module itself; one layer is tied, one frozen.</summary>
public sealed class SelfWritten : nn.Module<Tensor, Tensor>, IOnnxModule
{
    private readonly Linear inner;
    private readonly Linear again;
    private readonly Linear frozen;
    private readonly Linear head;
    private readonly Parameter scale = nn.Parameter(ones(1));

    public SelfWritten(NetOptions o) : base(nameof(SelfWritten))
    {
        (inner, again, frozen, head) = (nn.Linear(o.Inputs, o.Inputs), nn.Linear(o.Inputs, o.Inputs), nn.Linear(o.Inputs, o.Inputs), nn.Linear(o.Inputs, o.Outputs));
        again.weight = inner.weight;
        foreach (var parameter in frozen.parameters())
            parameter.requires_grad_(false);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => head.call(again.call(inner.call(x).abs() * scale) + frozen.call(x));

    public OnnxValue ToOnnx(OnnxGraphBuilder graph, OnnxValue input)
    {
        var size = graph.Multiply(graph.Node("Abs", [graph.Layer(nameof(inner), input)]), graph.Tensor(nameof(scale)));
        return graph.Layer(nameof(head), graph.Add(graph.Layer(nameof(again), size), graph.Layer(nameof(frozen), input)));
    }
}

/// <summary>Parts that write themselves: from ids to numbers, and from numbers to truths.</summary>
public sealed class OwnTypes : nn.Module<Tensor, Tensor>
{
    private readonly OwnTable table = new();
    private readonly OwnLimit limit = new();
    private readonly Linear head;

    public OwnTypes(NetOptions o) : base(nameof(OwnTypes))
    {
        head = nn.Linear(4, o.Outputs);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        var rows = table.call(x[.., ..3].to(ScalarType.Int64));
        return head.call(where(limit.call(rows), rows, -rows));
    }
}

/// <summary>The mean of rows of a table, by ids.</summary>
public sealed class OwnTable : nn.Module<Tensor, Tensor>, IOnnxModule
{
    private readonly Parameter rows = nn.Parameter(randn(5, 4));

    public OwnTable() : base(nameof(OwnTable)) => RegisterComponents();

    public override Tensor forward(Tensor ids) => rows.index_select(0, ids.flatten()).view(ids.shape[0], -1, 4).mean([1]);

    public OnnxValue ToOnnx(OnnxGraphBuilder graph, OnnxValue ids) =>
        graph.Node("ReduceMean", [graph.Node("Gather", [graph.Tensor(nameof(rows)), ids]), graph.Integers(1)], ("keepdims", 0));
}

/// <summary>Which numbers are above a half, or all of their row below.</summary>
public sealed class OwnLimit : nn.Module<Tensor, Tensor>, IOnnxModule
{
    public OwnLimit() : base(nameof(OwnLimit)) => RegisterComponents();

    public override Tensor forward(Tensor x) => (x > 0.5f) | (x.amax([1], keepdim: true) < -0.5f);

    public OnnxValue ToOnnx(OnnxGraphBuilder graph, OnnxValue x)
    {
        var (above, below) = (graph.Node("Greater", [x, graph.Constant([0.5f])]), graph.Node("Less", [graph.Node("ReduceMax", [x, graph.Integers(1)]), graph.Constant([-0.5f])]));
        return graph.Node("Cast", [graph.Node("Max", [ToNumbers(above), ToNumbers(below)])], ("to", 9));

        OnnxValue ToNumbers(OnnxValue truths) => graph.Node("Cast", [truths], ("to", 1));
    }
}
