using Microsoft.ML;
using Microsoft.ML.Data;
using TorchSharp;
using static TorchSharp.torch;

var ml = new MLContext(seed: 1);
var data = ml.Data.LoadFromEnumerable(Enumerable.Range(0, 400).Select(i => new Row { Label = i % 3 == 0, Features = [i % 3, i % 5, i % 7] }));
var model = ml.BinaryClassification.Trainers.DistributedTorchModule<MyNet>(new MyNetOptions(3, [16, 8])).Fit(data);
Console.WriteLine($"accuracy {ml.BinaryClassification.Evaluate(model.Transform(data)).Accuracy:0.00}");
Console.WriteLine($"maps libtorch: {File.ReadAllText("/proc/self/maps").Contains("libtorch", StringComparison.Ordinal)}");

internal sealed record MyNetOptions(int Inputs, int[] Widths);

// In the app itself: what it references of ML.NET stays here.
internal sealed class MyNet : nn.Module<Tensor, Tensor>
{
    private readonly nn.Module<Tensor, Tensor> layers;

    public MyNet(MyNetOptions o) : base(nameof(MyNet))
    {
        var inputs = o.Inputs;
        var all = new List<nn.Module<Tensor, Tensor>>();
        foreach (var width in o.Widths)
        {
            all.AddRange([nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()]);
            inputs = width;
        }

        layers = nn.Sequential([.. all, nn.Linear(inputs, 1)]);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => layers.call(x);
}

internal sealed class Row
{
    public bool Label { get; set; }

    [VectorType(3)]
    public float[] Features { get; set; } = [];
}
