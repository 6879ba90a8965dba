using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using MLDistributed.Protocol.Onnx;
using TorchModules;
using TorchSharp;

namespace Cluster.Tests;

/// <summary>Modules of a user's own whose outputs are columns.</summary>
[TestClass]
public sealed class ModuleOutputTests
{
    private const int Users = 20;
    private static readonly string[] s_tags = ["new", "old", "red", "blue"];

    [TestMethod]
    public void Fit_ModuleOfSeveralOutputs_LearnsThemAndSavesLoadsAndConverts()
    {
        var ml = SharedCluster.NewContext();
        var visits = Visits(800, seed: 5);
        var data = ml.Data.LoadFromEnumerable(visits);
        var estimator = Keys(ml).Append(Trainer(ml, new() { Epochs = 40, LearningRate = 0.02, MinRanks = 2, MaxRanks = 2, OutputColumnNames = Named("Amount", "PredictedPaid") }));

        var model = estimator.Fit(data);

        // Labels are not needed.
        var unlabelled = ml.Data.LoadFromEnumerable(visits.Select(v => new Unlabelled { User = v.User, Tags = v.Tags, Prices = v.Prices }));
        var keys = ((ITransformer)model.LastTransformer).GetOutputSchema(Keys(ml).Fit(data).Transform(data).Schema);
        CollectionAssert.IsSubsetOf(new[] { "PredictedPaid", "Items", "Place" }, keys.Select(c => c.Name).ToArray());
        Assert.AreEqual(3, ((VectorDataViewType)keys["Items"].Type).Size);
        var (paid, items) = (Column(model, data, "PredictedPaid"), Column(model, data, "Items"));
        var mean = visits.Average(v => v.Paid);
        Assert.IsLessThan(0.1 * visits.Sum(v => Math.Pow(v.Paid - mean, 2)), visits.Zip(paid).Sum(p => Math.Pow(p.First.Paid - p.Second[0], 2)));
        Assert.IsGreaterThan(0.9, ml.Regression.Evaluate(model.Transform(data), labelColumnName: "Paid", scoreColumnName: "PredictedPaid").RSquared);
        Assert.IsGreaterThan(0.9, RightItems(ml, data, items));
        Assert.AreEqual(RightItems(ml, data, items), model.LastTransformer.LastTransformer.Summary.History[^1].TrainingMetrics["Right items"], 0.1);

        using var file = new MemoryStream();
        ml.Model.Save(model.LastTransformer, Keys(ml).Fit(data).Transform(data).Schema, file);
        file.Position = 0;
        var again = new MLContext().Model.Load(file, out _);
        var mapped = Keys(ml).Fit(data).Transform(unlabelled);
        AssertSame(items, [.. again.Transform(mapped).GetColumn<float[]>("Items")]);
        Assert.DoesNotContain("libtorch", File.ReadAllText("/proc/self/maps"), "The app that trains has loaded libtorch.");
        AssertOnnx(ml, model, visits);
    }

    [TestMethod]
    public void Fit_TrainingStepOfSeveralInputsAndOutputs_IsWhatIsDifferentiatedOnAnyNumberOfRanks()
    {
        var ml = SharedCluster.NewContext();
        var data = ml.Data.LoadFromEnumerable(Visits(203, seed: 6));
        var losses = new[] { 1, 3 }.Select(ranks => Keys(ml).Append(ml.Transforms.DistributedTorchModule<SteppedShopNet, RatingInputs, Forecast, Bought>(
            new NetOptions(2, 3, Users), new() { Epochs = 2, BatchSize = 50, Seed = 3, MinRanks = ranks, MaxRanks = ranks, ExampleWeightColumnName = "Weight" })).Fit(data).LastTransformer.LastTransformer.Summary).ToList();
        var plain = Keys(ml).Append(Trainer(ml, new() { Epochs = 2, BatchSize = 50, Seed = 3, ExampleWeightColumnName = "Weight" })).Fit(data).LastTransformer.LastTransformer.Summary;

        Assert.AreEqual(losses[0].History[0].TrainingLoss, losses[1].History[0].TrainingLoss, 1e-4);
        Assert.AreEqual(losses[0].History[1].TrainingLoss, losses[1].History[1].TrainingLoss, 1e-4);
        Assert.AreEqual(losses[0].History[1].TrainingMetrics["Right items"], losses[1].History[1].TrainingMetrics["Right items"], 1e-6);
        Assert.IsGreaterThan(plain.History[0].TrainingLoss + 0.5, losses[0].History[0].TrainingLoss, "The first epoch counts the items twice.");
    }

    [TestMethod]
    public async Task SubmitAsync_ModuleOfSeveralInputs_AttachesToTheTransformerThatFitReturns()
    {
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 1 });
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        var data = ml.Data.LoadFromEnumerable(Visits(100, seed: 7));
        var mapped = Keys(ml).Fit(data).Transform(data);
        var outputs = Trainer(ml, new() { Epochs = 2, Seed = 4, OutputColumnNames = Named("Amount", "PredictedPaid") });
        var rating = ml.Regression.Trainers.DistributedTorchModule<SteppedRatingNet, RatingInputs>(new NetOptions(2, 1, Users), new() { LabelColumnName = "Paid", Epochs = 2, Seed = 4 });

        var several = await cluster.SubmitAsync(outputs, mapped);
        var one = await cluster.SubmitAsync(rating, mapped);
        var (attached, prediction) = (await several.WaitAsync(ml), await one.WaitAsync(ml));

        AssertSame(Column(outputs.Fit(mapped), mapped, "PredictedPaid"), Column(attached, mapped, "PredictedPaid"));
        CollectionAssert.AreEqual(rating.Fit(mapped).Transform(mapped).GetColumn<float>("Score").ToArray(), prediction.Transform(mapped).GetColumn<float>("Score").ToArray());
        foreach (var curve in new[] { outputs.FindLearningRate(mapped, steps: 40), rating.FindLearningRate(mapped, steps: 40) })
            Assert.IsInRange(1e-6, 1, curve.Suggestion);
    }

    [TestMethod]
    [DataRow("missing", "put out null as \"Items\" for 2 rows, expected [2, size] of Float32")]
    [DataRow("shape", "put out [2] of Float32 as \"Items\" for 2 rows")]
    [DataRow("type", "put out [2, 3] of Float64 as \"Items\" for 2 rows")]
    [DataRow("sum", "Loss of module \"BadShopNet\" is ")]
    public void Fit_ModuleWhoseOutputsAreNoColumns_IsRefusedBeforeTheFirstStep(string how, string message)
    {
        var ml = SharedCluster.NewContext();
        var data = ml.Data.LoadFromEnumerable(Visits(100, seed: 8));

        var e = Assert.ThrowsExactly<TrainingFailedException>(() => Keys(ml)
            .Append(ml.Transforms.DistributedTorchModule<BadShopNet, RatingInputs, Forecast, Bought>(new BadShopOptions(how))).Fit(data));

        StringAssert.Contains(e.Message, message);
    }

    [TestMethod]
    public void Fit_ColumnsAndOptionsThatDoNotFit_AreAllNamedBeforeDataIsRead()
    {
        var ml = new MLContext();
        var data = ml.Data.LoadFromEnumerable(Visits(10, seed: 1));
        var trainer = Trainer(ml, new()
        {
            LabelColumnName = "Paid", FeatureColumnName = "All", StartFrom = data, ExampleWeightColumnName = "User",
            OutputColumnNames = new Dictionary<string, string> { ["Amount"] = "Place", ["Items"] = "Prices", ["Other"] = "x" },
        });

        var e = Assert.ThrowsExactly<ArgumentException>(() => trainer.Fit(ml.Transforms.DropColumns("Paid").Fit(data).Transform(data)));

        StringAssert.Contains(e.Message, "ShopNet cannot train:");
        StringAssert.Contains(e.Message, "Input column \"User\" is a String");
        StringAssert.Contains(e.Message, "Label column \"Paid\" is not in the data");
        StringAssert.Contains(e.Message, "Label column \"Item\" is a String");
        StringAssert.Contains(e.Message, "Weight column \"User\" is a String, expected a Single");
        StringAssert.Contains(e.Message, "LabelColumnName is \"Paid\" beside a module whose outputs are columns");
        StringAssert.Contains(e.Message, "FeatureColumnName is \"All\" beside a module of several inputs");
        StringAssert.Contains(e.Message, "StartFrom is set beside a module whose outputs are columns");
        StringAssert.Contains(e.Message, "Outputs \"Amount\", \"Place\" have the column \"Place\", expected one for each");
        StringAssert.Contains(e.Message, "Output \"Items\" has the column \"Prices\", which is called as an input");
        StringAssert.Contains(e.Message, "OutputColumnNames has \"Other\", expected outputs of the module: \"Amount\", \"Items\", \"Place\"");
    }

    [TestMethod]
    public void Load_OutputsOfAnEarlierRelease_KeepVectorsOfOne()
    {
        var ml = SharedCluster.NewContext();
        var mapped = Keys(ml).Fit(ml.Data.LoadFromEnumerable(Visits(60, seed: 9))).Transform(ml.Data.LoadFromEnumerable(Visits(60, seed: 9)));
        var model = Trainer(ml, new() { Epochs = 1 }).Fit(mapped);
        Assert.AreEqual(NumberDataViewType.Single, model.Transform(mapped).Schema["Amount"].Type);

        model.LastTransformer.Network.Spec.Module.Torch.Outputs[0].NumberIsScalar = false; // as it was not there
        using var file = new MemoryStream();
        ml.Model.Save(model, mapped.Schema, file);
        file.Position = 0;

        Assert.AreEqual(new VectorDataViewType(NumberDataViewType.Single, 1), ml.Model.Load(file, out _).Transform(mapped).Schema["Amount"].Type);
    }

    [TestMethod]
    public void Fit_RowWithoutALabel_IsLeftOut()
    {
        var ml = SharedCluster.NewContext();
        var visits = Visits(60, seed: 1);
        var (data, log) = (ml.Data.LoadFromEnumerable(visits), new List<string>());
        ml.Log += (_, e) => log.Add(e.Message);
        float[][] Amounts(IDataView rows) => Column(Trainer(ml, new() { Epochs = 2, Seed = 3, BatchSize = 10 }).Fit(Keys(ml).Fit(data).Transform(rows)), Keys(ml).Fit(data).Transform(data), "Amount");

        var without = Amounts(ml.Data.LoadFromEnumerable(visits.Where((_, i) => i != 30)));
        visits[30].Paid = float.NaN;
        var missing = Amounts(data);

        AssertSame(without, missing);
        Assert.IsTrue(log.Exists(m => m.Contains("1 have no label in column \"Paid, Item\"; left out. 59 rows remain.", StringComparison.Ordinal)), string.Join('\n', log));
    }

    [TestMethod]
    public void Catalog_LabelsThatAreNoRecordOfTensors_AreRefused()
    {
        var e = Assert.ThrowsExactly<ArgumentException>(() => new MLContext().Transforms.DistributedTorchModule<TensorLabels, RatingInputs, Forecast, torch.Tensor>());
        StringAssert.Contains(e.Message, "Labels \"Tensor\" are no record of tensors");
    }

    private static DistributedOutputsTrainer Trainer(MLContext ml, DistributedOutputsTrainer.Options options) =>
        ml.Transforms.DistributedTorchModule<ShopNet, RatingInputs, Forecast, Bought>(new NetOptions(2, 3, Users), options);

    private static Dictionary<string, string> Named(string output, string column) => new() { [output] = column };

    private static IEstimator<ITransformer> Keys(MLContext ml) =>
        ml.Transforms.Conversion.MapValueToKey("User").Append(ml.Transforms.Conversion.MapValueToKey("Tags")).Append(ml.Transforms.Conversion.MapValueToKey("Item"));

    // One number is a column of numbers.
    private static float[][] Column(ITransformer model, IDataView data, string name)
    {
        var rows = model.Transform(data);
        return rows.Schema[name].Type is VectorDataViewType ? [.. rows.GetColumn<float[]>(name)] : [.. rows.GetColumn<float>(name).Select(number => new[] { number })];
    }

    private static double RightItems(MLContext ml, IDataView data, float[][] items) =>
        Keys(ml).Fit(data).Transform(data).GetColumn<uint>("Item").Zip(items).Average(p => p.Second[(int)p.First - 1] == p.Second.Max() ? 1 : 0);

    private static void AssertSame(float[][] expected, float[][] actual)
    {
        Assert.HasCount(expected.Length, actual);
        foreach (var (one, other) in expected.Zip(actual))
            CollectionAssert.AreEqual(one, other);
    }

    // The module's own file, and that of the pipeline from texts on, in ONNX Runtime.
    private static void AssertOnnx(MLContext ml, TransformerChain<TransformerChain<ModuleOutputsTransformer>> model, Visit[] visits)
    {
        var (transformer, data) = (model.LastTransformer.LastTransformer, ml.Data.LoadFromEnumerable(visits.Take(20)));
        using var own = new MemoryStream();
        transformer.SaveOnnx(own);
        using var whole = new MemoryStream();
        ml.Model.ConvertToOnnx(model, data, whole);
        var graph = ModelProto.Parser.ParseFrom(whole.ToArray()).Graph;
        CollectionAssert.IsSubsetOf(graph.Initializer.Select(t => t.Name).ToArray(), graph.Node.SelectMany(n => n.Input).ToArray(), "Nothing is left over in the pipeline's graph.");
        var mapped = model.Transform(data);
        var (users, tags) = (mapped.GetColumn<uint>("User").ToArray(), mapped.GetColumn<uint[]>("Tags").ToArray());
        var expected = transformer.Columns.Select(name => Column(model, data, name)).ToArray();
        using var session = new InferenceSession(own.ToArray());
        using var pipeline = new InferenceSession(whole.ToArray());
        CollectionAssert.AreEqual(new[] { "PredictedPaid", "Items", "Place" }, session.OutputMetadata.Keys.ToArray());
        for (var r = 0; r < users.Length; r++)
        {
            var prices = NamedOnnxValue.CreateFromTensor("Prices", new DenseTensor<float>(visits[r].Prices, [1, 2]));
            using var results = session.Run(
            [
                NamedOnnxValue.CreateFromTensor("User", new DenseTensor<long>(new long[] { users[r] }, [1, 1])),
                NamedOnnxValue.CreateFromTensor("Tags", new DenseTensor<long>(Array.ConvertAll(tags[r], t => (long)t), [1, 2])), prices,
            ]);
            using var converted = pipeline.Run(
            [
                NamedOnnxValue.CreateFromTensor("User", new DenseTensor<string>(new[] { visits[r].User }, [1, 1])),
                NamedOnnxValue.CreateFromTensor("Tags", new DenseTensor<string>(visits[r].Tags, [1, 2])), prices,
                NamedOnnxValue.CreateFromTensor("Item", new DenseTensor<string>(new[] { visits[r].Item }, [1, 1])),
                NamedOnnxValue.CreateFromTensor("Paid", new DenseTensor<float>(new[] { 0f }, [1, 1])),
                NamedOnnxValue.CreateFromTensor("Weight", new DenseTensor<float>(new[] { 0f }, [1, 1])),
            ], [.. transformer.Columns.Select(c => $"{c}.output")]);
            for (var c = 0; c < expected.Length; c++)
            {
                AssertClose(expected[c][r], [.. results[c].AsTensor<float>()]);
                AssertClose(expected[c][r], [.. converted[c].AsTensor<float>()]);
            }
        }
    }

    private static void AssertClose(float[] expected, float[] actual)
    {
        Assert.HasCount(expected.Length, actual);
        for (var i = 0; i < expected.Length; i++)
            Assert.AreEqual(expected[i], actual[i], 1e-5f * Math.Max(1, Math.Abs(expected[i])), $"number {i}");
    }

    private static Visit[] Visits(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i =>
        {
            var (user, tag, other) = (i < Users ? i : random.Next(Users), random.Next(s_tags.Length), random.Next(s_tags.Length));
            float[] prices = [random.NextSingle() * 100, random.NextSingle()];
            return new Visit
            {
                User = $"user {user}", Tags = [s_tags[tag], s_tags[other]], Prices = prices, Weight = 1 + (i % 2),
                Paid = (tag % 2) + (other % 2) + (prices[0] / 50), Item = $"item {(i < 3 ? i : user) % 3}",
            };
        })];
    }

    public sealed class TensorLabels() : torch.nn.Module<RatingInputs, Forecast>("none"), IModuleLoss<Forecast, torch.Tensor>
    {
        public override Forecast forward(RatingInputs inputs) => throw new NotSupportedException();

        public torch.Tensor Loss(Forecast outputs, torch.Tensor labels, torch.Tensor weights) => throw new NotSupportedException();
    }

    private class Unlabelled
    {
        public string User { get; set; } = "";

        [VectorType(2)]
        public string[] Tags { get; set; } = [];

        [VectorType(2)]
        public float[] Prices { get; set; } = [];

        public string Item { get; set; } = "";
    }

    private sealed class Visit : Unlabelled
    {
        public float Paid { get; set; }

        public float Weight { get; set; }
    }
}
