using Microsoft.ML.Data;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>A whole pipeline becomes an ONNX model, as with ML.NET's own trainers, and says what Transform says.</summary>
[TestClass]
public sealed class ConvertToOnnxTests : IDisposable
{
    private const float Tolerance = 1e-5f;
    private readonly Random _random = new(7);
    private readonly FakeBackend _backend = new();
    private readonly MLContext _ml;

    public ConvertToOnnxTests() => _ml = new MLContext(seed: 1).UseCluster(_backend);

    public static IEnumerable<object[]> Networks =>
        from activation in Enum.GetValues<NetworkActivation>()
        from normalization in Enum.GetValues<NetworkNormalization>()
        select new object[] { activation, normalization };

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    [DynamicData(nameof(Networks))]
    public void ConvertToOnnx_Binary_SaysWhatTransformSays(NetworkActivation activation, NetworkNormalization normalization)
    {
        var data = Data(hasMissing: true);
        var model = _ml.BinaryClassification.Trainers.DistributedNeuralNetwork(Random(new DistributedBinaryTrainer.Options { Activation = activation, Normalization = normalization, HiddenLayers = [5, 4] })).Fit(data);

        var converted = Convert(model, data, "Score", "Probability");

        var scored = model.Transform(data);
        AssertClose(scored.GetColumn<float>("Score"), converted["Score"]);
        AssertClose(scored.GetColumn<float>("Probability"), converted["Probability"]);
        CollectionAssert.AreEqual(scored.GetColumn<bool>("PredictedLabel").ToArray(), Run<bool>(model, data, "PredictedLabel"));
    }

    [TestMethod]
    [DynamicData(nameof(Networks))]
    public void ConvertToOnnx_Regression_SaysWhatTransformSays(NetworkActivation activation, NetworkNormalization normalization)
    {
        var data = Data(hasMissing: true);
        var model = _ml.Regression.Trainers.DistributedNeuralNetwork(Random(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", Activation = activation, Normalization = normalization, HiddenLayers = [5, 4] })).Fit(data);

        AssertClose(model.Transform(data).GetColumn<float>("Score"), Convert(model, data, "Score")["Score"]);
    }

    [TestMethod]
    public void ConvertToOnnx_OfSparseFeatures_SaysWhatTransformSays()
    {
        var data = Data(hasMissing: true);
        var model = _ml.Regression.Trainers.DistributedNeuralNetwork(Random(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", FeatureEncoding = FeatureEncoding.Sparse, HiddenLayers = [5, 4] })).Fit(data);

        AssertClose(model.Transform(data).GetColumn<float>("Score"), Convert(model, data, "Score")["Score"]);
    }

    [TestMethod]
    public void ConvertToOnnx_MulticlassInAPipeline_SaysWhatTransformSays()
    {
        var data = Data(hasMissing: false);
        var model = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Append(_ml.Transforms.NormalizeMinMax("Features"))
            .Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(Random(new DistributedMulticlassTrainer.Options { LabelColumnName = "Key", HiddenLayers = [5] })))
            .Append(_ml.Transforms.Conversion.MapKeyToValue("PredictedLabel"))
            .Fit(data);

        var scored = model.Transform(data);

        AssertClose(scored.GetColumn<float[]>("Score").SelectMany(s => s), Convert(model, data, "Score")["Score"]);
        CollectionAssert.AreEqual(scored.GetColumn<ReadOnlyMemory<char>>("PredictedLabel").Select(l => l.ToString()).ToArray(), Run<string>(model, data, "PredictedLabel"));
    }

    // As people do: what was trained yesterday is read, and goes to where there is no .NET.
    [TestMethod]
    [DataRow(MlTask.Multiclass), DataRow(MlTask.Binary), DataRow(MlTask.Regression), DataRow(MlTask.Ranking)]
    public void ConvertToOnnx_PipelineReadFromItsFile_SaysWhatTransformSays(MlTask task)
    {
        var data = Data(hasMissing: false);
        var before = _ml.Transforms.Concatenate("All", "Features", "Size").Append(_ml.Transforms.NormalizeMinMax("All")).Append(_ml.Transforms.Conversion.MapValueToKey("Key", "Kind"));
        ITransformer model = task switch
        {
            MlTask.Multiclass => before.Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(Random(new DistributedMulticlassTrainer.Options { LabelColumnName = "Key", FeatureColumnName = "All", HiddenLayers = [5] })))
                .Append(_ml.Transforms.Conversion.MapKeyToValue("PredictedLabel")).Fit(data),
            MlTask.Binary => before.Append(_ml.BinaryClassification.Trainers.DistributedNeuralNetwork(Random(new DistributedBinaryTrainer.Options { FeatureColumnName = "All", HiddenLayers = [5] }))).Fit(data),
            MlTask.Ranking => before.Append(_ml.Transforms.Conversion.MapValueToKey("Group", "Query")).Append(_ml.Ranking.Trainers.DistributedNeuralNetwork(Random(new DistributedRankingTrainer.Options { LabelColumnName = "Key", RowGroupColumnName = "Group", FeatureColumnName = "All", HiddenLayers = [5] }))).Fit(data),
            _ => before.Append(_ml.Regression.Trainers.DistributedNeuralNetwork(Random(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", FeatureColumnName = "All", HiddenLayers = [5] }))).Fit(data),
        };
        using var file = new MemoryStream();
        _ml.Model.Save(model, data.Schema, file);

        model = _ml.Model.Load(file, out _);

        var scored = model.Transform(data);
        AssertClose(task == MlTask.Multiclass ? scored.GetColumn<float[]>("Score").SelectMany(s => s) : scored.GetColumn<float>("Score"), Run<float>(model, data, "Score"));
        if (task == MlTask.Binary)
            AssertClose(scored.GetColumn<float>("Probability"), Run<float>(model, data, "Probability"));
        if (task == MlTask.Binary)
            CollectionAssert.AreEqual(scored.GetColumn<bool>("PredictedLabel").ToArray(), Run<bool>(model, data, "PredictedLabel"));
        if (task == MlTask.Multiclass)
            CollectionAssert.AreEqual(scored.GetColumn<ReadOnlyMemory<char>>("PredictedLabel").Select(l => l.ToString()).ToArray(), Run<string>(model, data, "PredictedLabel"));
    }

    [TestMethod]
    public void ConvertToOnnx_ModuleOfOnesOwn_SaysWhatTransformSays()
    {
        var data = Data(hasMissing: true);
        var size = ((VectorDataViewType)data.Schema["Features"].Type).Size;
        _backend.Own = spec =>
        {
            var graph = new OnnxGraph(new Dictionary<string, float[]>());
            return OnnxFrame.Build(spec, graph, "module", (input, output) => graph.Node("Identity", [Layers(graph, input, size)], output));
        };
        var module = new OwnModule(new TorchModuleSpec { Assembly = "Modules", Type = "Modules.Net" }, () => [1, 2, 3]);
        var model = DistributedNeuralNetworkCatalog.OfModule(_ml.Regression.Trainers, new() { LabelColumnName = "Value" }, module).Fit(data);

        AssertClose(model.Transform(data).GetColumn<float>("Score"), Convert(model, data, "Score")["Score"]);
        CollectionAssert.AreEqual(new byte[] { 1, 2, 3 }, _backend.JobFiles[0].Single().Content.ToArray());
    }

    // [N, size] as one channel: convolved, pooled, normalised, bounded, and summed.
    private string Layers(OnnxGraph graph, string input, int size)
    {
        string Numbers(string name, params long[] shape) => graph.Constant(name, shape, RandomNetworks.Values(_random, (int)shape.Aggregate(1L, (a, b) => a * b), 1));
        var image = graph.Node("Reshape", [input, graph.Integers("image", [0, 1, size])]);
        var folded = graph.Node("Conv", [image, Numbers("kernel", 2, 1, 3), Numbers("shift", 2)], null, OnnxGraph.List("kernel_shape", [3]), OnnxGraph.List("pads", [1, 1]), OnnxGraph.List("strides", [1]), OnnxGraph.List("dilations", [1]), OnnxGraph.Integer("group", 1));
        var normal = graph.Node("LayerNormalization", [folded, Numbers("gain", 2, size), Numbers("bias", 2, size)], null, OnnxGraph.Integer("axis", -2), OnnxGraph.Number("epsilon", 1e-4));
        var pooled = graph.Node("AveragePool", [graph.Node("HardSwish", [normal])], null, OnnxGraph.List("kernel_shape", [2]), OnnxGraph.List("strides", [1]), OnnxGraph.List("pads", [0, 0]), OnnxGraph.List("dilations", [1]), OnnxGraph.Integer("ceil_mode", 0), OnnxGraph.Integer("count_include_pad", 1));
        var flat = graph.Node("Flatten", [graph.Node("Gelu", [pooled], null, OnnxGraph.Text("approximate", "none"))], null, OnnxGraph.Integer("axis", 1));
        var limit = Numbers("limit", 1, 2 * (size - 1));
        flat = graph.Node("Where", [graph.Node("GreaterOrEqual", [flat, limit]), flat, graph.Node("Where", [graph.Node("LessOrEqual", [flat, limit]), limit, flat])]);
        flat = graph.Node("Pad", [flat, graph.Integers("before", [0, 1, 0, 0]), Numbers("filled")], null, OnnxGraph.Text("mode", "constant"));
        flat = graph.Node("Pad", [flat, graph.Integers("behind", [0, 0, 0, 1])], null, OnnxGraph.Text("mode", "reflect"));
        return graph.Node("Gemm", [flat, Numbers("weight", 1, 2 * size), Numbers("last", 1)], null, OnnxGraph.Integer("transB", 1));
    }

    private TOptions Random<TOptions>(TOptions options)
    {
        _backend.Weights = mlp => RandomNetworks.Weights(_random, mlp);
        return options;
    }

    private Dictionary<string, float[]> Convert(ITransformer model, IDataView data, params string[] columns) => columns.ToDictionary(c => c, c => Run<float>(model, data, c));

    // The converted pipeline, row by row, by ONNX Runtime.
    private T[] Run<T>(ITransformer model, IDataView data, string column)
    {
        using var onnx = new MemoryStream();
        _ml.Model.ConvertToOnnx(model, data, onnx);
        using var session = new InferenceSession(onnx.ToArray());
        var results = new List<T>();
        foreach (var row in _ml.Data.CreateEnumerable<Row>(data, reuseRowObject: false))
        {
            var inputs = session.InputMetadata.Keys.Select(name => name switch
            {
                "Features" => NamedOnnxValue.CreateFromTensor(name, new DenseTensor<float>(row.Features, [1, row.Features.Length])),
                "Label" => NamedOnnxValue.CreateFromTensor(name, new DenseTensor<bool>(new[] { row.Label }, [1, 1])),
                "Value" => NamedOnnxValue.CreateFromTensor(name, new DenseTensor<float>(new[] { row.Value }, [1, 1])),
                "Size" => NamedOnnxValue.CreateFromTensor(name, new DenseTensor<float>(new[] { row.Size }, [1, 1])),
                _ => NamedOnnxValue.CreateFromTensor(name, new DenseTensor<string>(new[] { row.Kind }, [1, 1])),
            }).ToList();
            using var outputs = session.Run(inputs, [$"{column}.output"]);
            results.AddRange(outputs[0].AsTensor<T>());
        }

        return [.. results];
    }

    private static void AssertClose(IEnumerable<float> expected, float[] actual)
    {
        var values = expected.ToArray();
        Assert.HasCount(values.Length, actual);
        for (var i = 0; i < values.Length; i++)
            Assert.AreEqual(values[i], actual[i], Tolerance * Math.Max(1, Math.Abs(values[i])), $"value {i}");
    }

    private IDataView Data(bool hasMissing) => _ml.Data.LoadFromEnumerable(Enumerable.Range(0, 30).Select(i => new Row
    {
        Label = i % 2 == 0,
        Value = 100 + (3 * i),
        Size = i % 7,
        Kind = $"kind {i % 3}",
        Query = $"query {i / 10}",
        Features = [i % 3, hasMissing && i % 5 == 0 ? float.NaN : i, _random.NextSingle()],
    }).ToList());

    private sealed class Row
    {
        public string Query { get; set; } = "";

        public bool Label { get; set; }

        public float Value { get; set; }

        public float Size { get; set; }

        public string Kind { get; set; } = "";

        [VectorType(3)]
        public float[] Features { get; set; } = [];
    }
}
