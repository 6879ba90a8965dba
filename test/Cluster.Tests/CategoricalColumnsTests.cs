using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace Cluster.Tests;

/// <summary>The built-in network with columns of categories beside its features.</summary>
[TestClass]
public sealed class CategoricalColumnsTests
{
    private const int Shops = 30;

    [TestMethod]
    public void Regression_PriceByShopAndSize_IsLearntAndSavesLoadsConvertsAndGoesOn()
    {
        var ml = SharedCluster.NewContext();
        var sales = Sales(1500, seed: 5);
        var data = ml.Data.LoadFromEnumerable(sales);
        var mapping = Keys(ml).Fit(data);
        var options = new DistributedRegressionTrainer.Options { FeatureColumnName = "Sizes", Epochs = 30, MinRanks = 2, MaxRanks = 2 };

        var model = new TransformerChain<ITransformer>(mapping, ml.Regression.Trainers.DistributedNeuralNetwork(["Shop", "Kind"], options).Fit(mapping.Transform(data)));

        Assert.IsGreaterThanOrEqualTo(0.95, ml.Regression.Evaluate(model.Transform(ml.Data.LoadFromEnumerable(Sales(500, seed: 6)))).RSquared);
        var scores = ModuleInputTests.Scores(model, data);
        using var file = new MemoryStream();
        ml.Model.Save(model, data.Schema, file);
        file.Position = 0;
        var again = new MLContext().Model.Load(file, out _);
        CollectionAssert.AreEqual(scores, ModuleInputTests.Scores(again, data));
        using var engine = ml.Model.CreatePredictionEngine<Sale, Scored>(again);
        Assert.AreEqual(scores[0], engine.Predict(sales[0]).Score);
        Assert.DoesNotContain("libtorch", File.ReadAllText("/proc/self/maps"), "The app that trains has loaded libtorch.");
        // One that was never seen is between those that were, not beyond them.
        Assert.IsTrue(engine.Predict(new Sale { Shop = "new", Kind = "new too", Sizes = [1, 1] }).Score is > -2 and < 12);
        ModuleInputTests.AssertClose(scores[..20], ConvertedScores(ml, model, data, sales[..20]));

        // The next day's sales, from what it has learnt.
        options.StartFrom = model;
        (options.Epochs, options.LearningRate) = (1, 1e-4);
        var next = ml.Regression.Trainers.DistributedNeuralNetwork(["Shop", "Kind"], options).Fit(mapping.Transform(data));
        Assert.IsGreaterThanOrEqualTo(0.95, ml.Regression.Evaluate(next.Transform(mapping.Transform(data))).RSquared);
    }

    [TestMethod]
    public void Binary_CategoriesAlone_AreLearntOnAnyNumberOfRanks()
    {
        var ml = SharedCluster.NewContext();
        var data = ml.Data.LoadFromEnumerable(Sales(600, seed: 7));
        var mapped = Keys(ml).Fit(data).Transform(data);

        var runs = new[] { 1, 3 }.Select(ranks => ml.BinaryClassification.Trainers
            .DistributedNeuralNetwork(["Shop", "Kind"], new() { LabelColumnName = "IsDear", FeatureColumnName = "", MinRanks = ranks, MaxRanks = ranks, Seed = 3, Epochs = 10, Reproducibility = Reproducibility.BitExact })
            .Fit(mapped).Transform(mapped)).ToList();

        Assert.IsGreaterThanOrEqualTo(0.9, ml.BinaryClassification.EvaluateNonCalibrated(runs[0], "IsDear").AreaUnderRocCurve);
        CollectionAssert.AreEqual(runs[0].GetColumn<float>("Score").ToArray(), runs[1].GetColumn<float>("Score").ToArray());
    }

    [TestMethod]
    public void FindLearningRate_Categories_FallsAndDiverges()
    {
        var ml = SharedCluster.NewContext();
        var data = Mapped(ml);

        var curve = ml.Regression.Trainers.DistributedNeuralNetwork(["Shop", "Kind"], new() { FeatureColumnName = "Sizes" }).FindLearningRate(data, 1e-5, 100);

        Assert.IsTrue(curve.Suggestion is > 1e-5 and < 100, $"{curve.Suggestion}");
    }

    /// <summary>Sales as the network sees them.</summary>
    internal static IDataView Mapped(MLContext ml)
    {
        var data = ml.Data.LoadFromEnumerable(Sales(300, seed: 5));
        return Keys(ml).Fit(data).Transform(data);
    }

    private static IEstimator<ITransformer> Keys(MLContext ml) =>
        ml.Transforms.Conversion.MapValueToKey("Shop").Append(ml.Transforms.Conversion.MapValueToKey("Kind"));

    // The converted pipeline, from texts on.
    private static float[] ConvertedScores(MLContext ml, ITransformer model, IDataView data, IEnumerable<Sale> sales)
    {
        using var onnx = new MemoryStream();
        ml.Model.ConvertToOnnx(model, data, onnx);
        using var session = new InferenceSession(onnx.ToArray());
        return [.. sales.Select(sale =>
        {
            using var results = session.Run(
            [
                NamedOnnxValue.CreateFromTensor("Shop", new DenseTensor<string>(new[] { sale.Shop }, [1, 1])),
                NamedOnnxValue.CreateFromTensor("Kind", new DenseTensor<string>(new[] { sale.Kind }, [1, 1])),
                NamedOnnxValue.CreateFromTensor("Sizes", new DenseTensor<float>(sale.Sizes, [1, 2])),
                NamedOnnxValue.CreateFromTensor("Label", new DenseTensor<float>(new[] { sale.Label }, [1, 1])),
                NamedOnnxValue.CreateFromTensor("IsDear", new DenseTensor<bool>(new[] { sale.IsDear }, [1, 1])),
            ], ["Score.output"]);
            return results[0].AsTensor<float>().Single();
        })];
    }

    private static Sale[] Sales(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i =>
        {
            var (shop, kind) = (i < Shops ? i : random.Next(Shops), i < 5 ? i : random.Next(5));
            float[] sizes = [random.NextSingle() * 2, random.NextSingle()];
            var price = (shop * 7 % 5) + (kind % 3) + sizes[0];
            return new Sale { Shop = $"shop {shop}", Kind = $"kind {kind}", Sizes = sizes, Label = price, IsDear = (shop * 7 % 5) + (kind % 3) > 3 };
        })];
    }

    private sealed class Sale
    {
        public float Label { get; set; }

        public bool IsDear { get; set; }

        public string Shop { get; set; } = "";

        public string Kind { get; set; } = "";

        [VectorType(2)]
        public float[] Sizes { get; set; } = [];
    }

    private sealed class Scored
    {
        public float Score { get; set; }
    }
}
