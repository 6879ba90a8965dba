using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using TorchModules;

namespace Cluster.Tests;

/// <summary>Modules of a user's own that have several columns as their inputs.</summary>
[TestClass]
public sealed class ModuleInputTests
{
    internal const int Users = 20;
    private static readonly string[] s_tags = ["new", "old", "red", "blue"];

    [TestMethod]
    public void Regression_ModuleOfKeysAndNumbers_LearnsThemAndSavesLoadsAndConverts()
    {
        var ml = SharedCluster.NewContext();
        var visits = Visits(800, seed: 5);
        var data = ml.Data.LoadFromEnumerable(visits);
        var pipeline = Keys(ml).Append(ml.Regression.Trainers.DistributedTorchModule<RatingNet, RatingInputs>(
            new NetOptions(2, 1, Users), new() { Epochs = 40, LearningRate = 0.02, MinRanks = 2, MaxRanks = 2 }));

        var model = pipeline.Fit(data);

        var scores = Scores(model, data);
        Assert.IsGreaterThanOrEqualTo(0.9, ml.Regression.Evaluate(model.Transform(data)).RSquared);
        using var file = new MemoryStream();
        ml.Model.Save(model, data.Schema, file);
        file.Position = 0;
        var again = new MLContext().Model.Load(file, out _);
        CollectionAssert.AreEqual(scores, Scores(again, data));
        Assert.DoesNotContain("libtorch", File.ReadAllText("/proc/self/maps"), "The app that trains has loaded libtorch.");
        // Whoever has not been seen is a missing key.
        Visit[] strangers = [Copy(visits[0], user: "nobody"), Copy(visits[0], user: "nobody either")];
        var strange = Scores(model, ml.Data.LoadFromEnumerable(strangers));
        Assert.AreEqual(strange[0], strange[1]);
        AssertClose(Scores(model, ml.Data.LoadFromEnumerable(visits.Take(20))), ConvertedScores(ml, model, data, visits.Take(20)));
        AssertClose(scores, OwnScores(model, ml.Data.LoadFromEnumerable(visits)));
    }

    [TestMethod]
    public void Fit_ColumnsThatAreNoInputs_AreAllNamedBeforeDataIsRead()
    {
        var ml = new MLContext();
        var data = ml.Data.LoadFromEnumerable(Visits(10, seed: 1));
        var trainer = ml.Regression.Trainers.DistributedTorchModule<RatingNet, RatingInputs>(new NetOptions(2, 1), new() { FeatureColumnName = "All" });

        var e = Assert.ThrowsExactly<ArgumentException>(() => trainer.Fit(ml.Transforms.DropColumns("Prices").Fit(data).Transform(data)));

        StringAssert.Contains(e.Message, "RatingNet cannot train:");
        StringAssert.Contains(e.Message, "Input column \"User\" is a String, expected a Single, a key, or a vector of one of them with a known size. Map ids and categories with ml.Transforms.Conversion.MapValueToKey(\"User\")");
        StringAssert.Contains(e.Message, "Input column \"Prices\" is not in the data");
        StringAssert.Contains(e.Message, "FeatureColumnName is \"All\" beside a module of several inputs");
    }

    [TestMethod]
    public void Fit_ValidationSetOfOtherKeys_IsRefusedBeforeDataIsRead()
    {
        var ml = new MLContext();
        var (data, fewer) = (ml.Data.LoadFromEnumerable(Visits(100, seed: 1)), ml.Data.LoadFromEnumerable(Visits(4, seed: 2)));
        var trainer = ml.Regression.Trainers.DistributedTorchModule<RatingNet, RatingInputs>(new NetOptions(2, 1, Users), new() { ValidationSet = Keys(ml).Fit(fewer).Transform(fewer) });

        var e = Assert.ThrowsExactly<ArgumentException>(() => trainer.Fit(Keys(ml).Fit(data).Transform(data)));

        StringAssert.Contains(e.Message, "Validation set: input column \"User\" is a key of ");
        StringAssert.Contains(e.Message, "expected a key of 20 values, as in the training data");
    }

    [TestMethod]
    public void Fit_TableWithoutARowForEachKey_SaysHowManyItNeeds()
    {
        var ml = SharedCluster.NewContext();
        var data = ml.Data.LoadFromEnumerable(Visits(200, seed: 1));

        var e = Assert.ThrowsExactly<TrainingFailedException>(() => Keys(ml)
            .Append(ml.Regression.Trainers.DistributedTorchModule<RatingNet, RatingInputs>(new NetOptions(2, 1, Users - 1))).Fit(data));

        StringAssert.Contains(e.Message, "has a table without a row for each id");
        StringAssert.Contains(e.Message, "21 for \"User\", 5 for \"Tags\"");
    }

    [TestMethod]
    public void Catalog_InputsThatAreNoRecordOfTensors_AreRefused()
    {
        var ml = new MLContext();
        var e = Assert.ThrowsExactly<ArgumentException>(() => ml.Regression.Trainers.DistributedTorchModule<SmallCnn, TorchSharp.torch.Tensor>(new NetOptions(64, 1)));
        StringAssert.Contains(e.Message, "Inputs \"Tensor\" are no record of tensors");
    }

    /// <summary>Visits as the module sees them.</summary>
    internal static IDataView Mapped(MLContext ml)
    {
        var visits = ml.Data.LoadFromEnumerable(Visits(200, seed: 5));
        return Keys(ml).Fit(visits).Transform(visits);
    }

    internal static float[] Scores(ITransformer model, IDataView data) => [.. model.Transform(data).GetColumn<float>("Score")];

    private static IEstimator<ITransformer> Keys(MLContext ml) =>
        ml.Transforms.Conversion.MapValueToKey("User").Append(ml.Transforms.Conversion.MapValueToKey("Tags"));

    // The file that the model writes, with an input for each column.
    private static float[] OwnScores(TransformerChain<TransformerChain<RegressionPredictionTransformer<NeuralNetworkRegressionModel>>> model, IDataView data)
    {
        using var onnx = new MemoryStream();
        model.LastTransformer.LastTransformer.Model.SaveOnnx(onnx);
        var mapped = model.Transform(data);
        var users = mapped.GetColumn<uint>("User").Select(u => (long)u).ToArray();
        var tags = mapped.GetColumn<uint[]>("Tags").SelectMany(t => t).Select(t => (long)t).ToArray();
        var prices = mapped.GetColumn<float[]>("Prices").SelectMany(p => p).ToArray();
        using var session = new InferenceSession(onnx.ToArray());
        CollectionAssert.AreEquivalent(new[] { "User", "Tags", "Prices" }, session.InputMetadata.Keys.ToArray());
        using var results = session.Run(
        [
            NamedOnnxValue.CreateFromTensor("User", new DenseTensor<long>(users, [users.Length, 1])),
            NamedOnnxValue.CreateFromTensor("Tags", new DenseTensor<long>(tags, [users.Length, 2])),
            NamedOnnxValue.CreateFromTensor("Prices", new DenseTensor<float>(prices, [users.Length, 2])),
        ]);
        return [.. results[0].AsTensor<float>()];
    }

    // The converted pipeline, from texts on.
    private static float[] ConvertedScores(MLContext ml, ITransformer model, IDataView data, IEnumerable<Visit> visits)
    {
        using var onnx = new MemoryStream();
        ml.Model.ConvertToOnnx(model, data, onnx);
        using var session = new InferenceSession(onnx.ToArray());
        return [.. visits.Select(v =>
        {
            using var results = session.Run(
            [
                NamedOnnxValue.CreateFromTensor("User", new DenseTensor<string>(new[] { v.User }, [1, 1])),
                NamedOnnxValue.CreateFromTensor("Tags", new DenseTensor<string>(v.Tags, [1, 2])),
                NamedOnnxValue.CreateFromTensor("Prices", new DenseTensor<float>(v.Prices, [1, 2])),
                NamedOnnxValue.CreateFromTensor("Label", new DenseTensor<float>(new[] { v.Label }, [1, 1])),
            ], ["Score.output"]);
            return results[0].AsTensor<float>().Single();
        })];
    }

    internal static void AssertClose(float[] expected, float[] actual)
    {
        Assert.HasCount(expected.Length, actual);
        for (var i = 0; i < expected.Length; i++)
            Assert.AreEqual(expected[i], actual[i], 1e-5f * Math.Max(1, Math.Abs(expected[i])), $"row {i}");
    }

    private static Visit Copy(Visit visit, string user) => new() { User = user, Tags = visit.Tags, Prices = visit.Prices, Label = visit.Label };

    private static Visit[] Visits(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i =>
        {
            var (user, tag, other) = (i < Users ? i : random.Next(Users), random.Next(s_tags.Length), random.Next(s_tags.Length));
            float[] prices = [random.NextSingle() * 100, random.NextSingle()];
            return new Visit { User = $"user {user}", Tags = [s_tags[tag], s_tags[other]], Prices = prices, Label = (user % 3) + (tag % 2) + (other % 2) + (prices[0] / 50) };
        })];
    }

    private sealed class Visit
    {
        public float Label { get; set; }

        public string User { get; set; } = "";

        [VectorType(2)]
        public string[] Tags { get; set; } = [];

        [VectorType(2)]
        public float[] Prices { get; set; } = [];
    }
}
