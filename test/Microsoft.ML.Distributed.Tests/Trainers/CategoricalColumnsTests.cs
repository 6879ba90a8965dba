using Microsoft.ML.Data;
using Microsoft.ML.Transforms;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Columns of categories beside the features.</summary>
[TestClass]
public sealed class CategoricalColumnsTests : IDisposable
{
    private readonly FakeBackend _backend = new() { Weights = mlp => RandomNetworks.Weights(new Random(5), mlp) };
    private readonly MLContext _ml;

    public CategoricalColumnsTests() => _ml = new MLContext(seed: 1).UseCluster(_backend);

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    public void Fit_Categories_AreIdsBehindTheNumbersWithWidthsOfTheirOwn()
    {
        Trainer(["City", "Kind"]).Fit(Mapped(2000));

        var spec = _backend.Jobs.Single();
        var mlp = spec.Module.Mlp;
        Assert.AreEqual((4, 2), (mlp.InputSize, mlp.NumberSize));
        CollectionAssert.AreEqual(new[] { (100, 21), (3, 3) }, mlp.Categories.Select(c => (c.KeyCount, c.Width)).ToArray());
        Assert.IsNull(mlp.Sparse);
        Assert.IsTrue(mlp.Steps.Slot.All(slot => slot < 2), "Ids have no steps.");
        CollectionAssert.AreEqual(new float[] { 0, 0 }, spec.Data.Features.Mean.Skip(2).ToArray());
        CollectionAssert.AreEqual(new float[] { 1, 1 }, spec.Data.Features.Scale.Skip(2).ToArray());
        Assert.AreNotEqual(1, spec.Data.Features.Scale[0]);
    }

    [TestMethod]
    public void Fit_CategoriesAlone_NeedNoFeatures()
    {
        var model = Trainer(["City", "Kind"], new() { FeatureColumnName = "" }).Fit(_ml.Transforms.DropColumns("Features").Fit(Mapped(100)).Transform(Mapped(100)));

        Assert.AreEqual((2, 0), (_backend.Jobs.Single().Module.Mlp.InputSize, _backend.Jobs.Single().Module.Mlp.NumberSize));
        Assert.HasCount(100, model.Transform(Mapped(100)).GetColumn<float>("Score"));
    }

    [TestMethod]
    public void Transform_MissingAndUnknownCategory_HaveTheSameRow()
    {
        var keys = Keys();
        var mapping = keys.Fit(Data(100));
        var model = Trainer(["City", "Kind"]).Fit(mapping.Transform(Data(100)));

        var scores = model.Transform(mapping.Transform(_ml.Data.LoadFromEnumerable([new Row { City = "nowhere" }, new Row { City = "" }, new Row { City = "C1" }]))).GetColumn<float>("Score").ToArray();

        Assert.AreEqual(scores[0], scores[1]);
        Assert.AreNotEqual(scores[0], scores[2]);
    }

    [TestMethod]
    public void Load_SavedChain_ScoresTheSame()
    {
        var data = Mapped(100);
        var model = Trainer(["City", "Kind"]).Fit(data);
        using var file = new MemoryStream();
        _ml.Model.Save(model, data.Schema, file);
        file.Position = 0;

        var again = new MLContext().Model.Load(file, out _);

        CollectionAssert.AreEqual(model.Transform(data).GetColumn<float>("Score").ToArray(), again.Transform(data).GetColumn<float>("Score").ToArray());
    }

    [TestMethod]
    public void Fit_WrongColumns_AreAllNamedBeforeDataIsRead()
    {
        var message = Refusal(() => Trainer(["City", "Kind", "Kind", "Gone", "Label"], new() { FeatureColumnName = "Sizes", FeatureEncoding = FeatureEncoding.Sparse }).Fit(Data(10)));

        StringAssert.Contains(message, "DistributedNeuralNetwork cannot train:");
        StringAssert.Contains(message, "categoricalColumnNames has column \"Kind\" twice, expected each column once.");
        StringAssert.Contains(message, "Categorical column \"City\" is a String, expected a key. Map it with ml.Transforms.Conversion.MapValueToKey(\"City\").");
        StringAssert.Contains(Refusal(() => Trainer(["Features"]).Fit(Mapped(10))), "Categorical column \"Features\" is a vector of Single, expected a key.");
        StringAssert.Contains(message, "Categorical column \"Gone\" is not in the data");
        StringAssert.Contains(message, "Categorical column \"Label\" is the label, weight or group column too, expected another column.");
        StringAssert.Contains(message, "Feature column \"Sizes\" is not in the data");
        StringAssert.Contains(message, "Or set FeatureColumnName to \"\": there are categories alone.");
        Assert.IsEmpty(_backend.Jobs);
    }

    [TestMethod]
    public void Fit_NoColumnOrSparseFeatures_IsRefused()
    {
        StringAssert.Contains(Refusal(() => Trainer([]).Fit(Mapped(10))), "categoricalColumnNames has no column, expected at least one.");
        StringAssert.Contains(Refusal(() => Trainer(["City"], new() { FeatureEncoding = FeatureEncoding.Sparse }).Fit(Mapped(10))), "FeatureEncoding is Sparse beside categorical columns, expected Auto or Dense.");
    }

    [TestMethod]
    public void Fit_ValidationSetWithOtherKeys_IsRefused()
    {
        var other = _ml.Transforms.Conversion.MapValueToKey("City", keyOrdinality: ValueToKeyMappingEstimator.KeyOrdinality.ByValue).Append(_ml.Transforms.Conversion.MapValueToKey("Kind")).Fit(Data(100)).Transform(Data(100));

        var message = Refusal(() => Trainer(["City", "Kind"], new() { ValidationSet = other }).Fit(Mapped(100)));

        StringAssert.Contains(message, "Validation set: categorical column \"City\" has the value \"C10\" as key 2, expected \"C2\" as in the training data. Map both with the same fitted transformer.");
    }

    [TestMethod]
    public void Fit_StartFromNetworkOfOtherKeys_IsRefused()
    {
        var start = Trainer(["City", "Kind"]).Fit(Mapped(100));
        var again = Trainer(["City", "Kind"], new() { StartFrom = start }).Fit(Mapped(100));
        Assert.IsNotNull(_backend.Jobs[1].StartFrom);
        var other = _ml.Transforms.Conversion.MapValueToKey("City", keyOrdinality: ValueToKeyMappingEstimator.KeyOrdinality.ByValue).Append(_ml.Transforms.Conversion.MapValueToKey("Kind")).Fit(Data(100)).Transform(Data(100));

        StringAssert.Contains(Refusal(() => Trainer(["City", "Kind"], new() { StartFrom = again }).Fit(other)), "Training data: categorical column \"City\" has the value \"C10\" as key 2, expected \"C2\" as in the data of StartFrom.");
        StringAssert.Contains(Refusal(() => Trainer(["City", "Kind"], new() { StartFrom = start }).Fit(Mapped(50))), "StartFrom has categorical columns of [100, 3] keys, expected [50, 3], as the data has them.");
        StringAssert.Contains(Refusal(() => Trainer(["City"], new() { StartFrom = start }).Fit(Mapped(100))), "StartFrom has 4 features, expected 3");
    }

    // As one that AttachAsync gave: its schema has the network's columns alone.
    [TestMethod, DataRow(true), DataRow(false)]
    public void Fit_StartFromNetworkWhoseKeysAreNotKnown_WarnsOfThem(bool areKnown)
    {
        var words = new System.Collections.Concurrent.ConcurrentQueue<string>();
        _ml.Log += (_, e) => words.Enqueue(e.Message);
        var chain = Trainer(["City", "Kind"]).Fit(Mapped(100));
        var trained = chain.First().Transform(Mapped(100));
        var without = _ml.Transforms.DropColumns("City", "Kind").Fit(trained).Transform(trained).Schema;
        ITransformer attached = new DistributedRegressionTrainer(_ml, new DistributedRegressionTrainer.Options { FeatureColumnName = chain.LastTransformer.FeatureColumnName }).Restore(((ITrainedModel)chain.LastTransformer.Model).Network, without);

        Trainer(["City", "Kind"], new() { StartFrom = areKnown ? chain : attached }).Fit(Mapped(100));

        Assert.AreEqual(areKnown ? 0 : 1, words.Count(w => w.Contains("The values of key \"City\", key \"Kind\" are not known of the data of StartFrom", StringComparison.Ordinal)), string.Join("\n", words));
    }

    [TestMethod]
    public void Fit_OptionsChangedAfterTheTrainerWasMade_AreThoseOfFit()
    {
        var options = new DistributedRegressionTrainer.Options { FeatureColumnName = "Nothing" };
        var trainer = Trainer(["City"], options);
        options.FeatureColumnName = "Features";
        trainer.Fit(Mapped(100));

        Assert.AreEqual(3, _backend.Jobs.Single().Module.Mlp.InputSize);
        StringAssert.Contains(Refusal(() => Trainer(["City", null!]).Fit(Mapped(100))), "categoricalColumnNames has a name that is empty");
    }

    [TestMethod, DataRow(1, 2), DataRow(2, 3), DataRow(9, 6), DataRow(100, 21), DataRow(463, 50), DataRow(1_000_000, 50)]
    public void CategoryWidth_Keys_GrowsSlowerThanTheyDo(int keys, int width) => Assert.AreEqual(width, AutomaticOptions.CategoryWidth(keys));

    private static string Refusal(Action fit) => Assert.ThrowsExactly<ArgumentException>(fit).Message;

    private DistributedModuleTrainer<RegressionPredictionTransformer<NeuralNetworkRegressionModel>> Trainer(string[] categories, DistributedRegressionTrainer.Options? options = null) =>
        _ml.Regression.Trainers.DistributedNeuralNetwork(categories, options);

    private IEstimator<ITransformer> Keys() => _ml.Transforms.Conversion.MapValueToKey("City").Append(_ml.Transforms.Conversion.MapValueToKey("Kind"));

    private IDataView Mapped(int rows) => Keys().Fit(Data(rows)).Transform(Data(rows));

    private IDataView Data(int rows) => _ml.Data.LoadFromEnumerable(Enumerable.Range(0, rows).Select(i => new Row { City = $"C{i % 100}", Kind = $"K{i % 3}", Features = [i % 24, i * 0.5f], Label = i % 7 }));

    private sealed class Row
    {
        public string City { get; init; } = "C0";

        public string Kind { get; init; } = "K0";

        [VectorType(2)]
        public float[] Features { get; init; } = [1, 2];

        public float Label { get; init; }
    }
}
