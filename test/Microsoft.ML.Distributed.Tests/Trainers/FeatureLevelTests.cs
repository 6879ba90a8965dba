using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Features with few values go in value by value too, others part by part.</summary>
[TestClass]
public sealed class FeatureLevelTests : IDisposable
{
    private const int Hours = 24;
    private readonly FakeBackend _backend = new() { Weights = mlp => RandomNetworks.Weights(new Random(5), mlp) };
    private readonly MLContext _ml;

    public FeatureLevelTests() => _ml = new MLContext(seed: 1).UseCluster(_backend);

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    public void Fit_FeatureOfFewValues_HasAStepBetweenEachTwo()
    {
        Trainer(new()).Fit(Data(2000));

        CollectionAssert.AreEquivalent(new[] { (0, Hours - 1), (1, 16), (3, 2) }, Steps.Slot.CountBy(s => s).Select(c => (c.Key, c.Value)).ToArray(), "Flags have none.");
        CollectionAssert.AreEqual(Enumerable.Range(0, Hours - 1).Select(h => (float)h).ToArray(), Starts(0));
        CollectionAssert.AreEqual(new[] { -1, 0.5f }, Starts(3));
        CollectionAssert.AreEqual(Enumerable.Repeat(1f, Hours - 1).ToArray(), Scales(0));
        CollectionAssert.AreEqual(new[] { 1 / 1.5f, 2 }, Scales(3));
    }

    [TestMethod]
    public void Fit_FeatureOfManyValues_HasAStepForEachPartOfItsRows()
    {
        Trainer(new()).Fit(Numbers(5000, i => [(float)i * i]));

        var starts = Starts(0);
        Assert.HasCount(16, starts);
        for (var i = 0; i < 16; i++)
        {
            Assert.AreEqual(i / 16.0, Math.Sqrt(starts[i]) / 5000, 0.03, $"Step {i} begins behind so many of the rows.");
            Assert.AreEqual(i == 15 ? 25e6 : starts[i + 1], starts[i] + 1 / Scales(0)[i], 25e6 * 0.001, $"Step {i} ends where the next begins.");
        }
    }

    // A third has nothing, as words of a mail: quantiles alone would have six steps of no width there.
    [TestMethod]
    public void Fit_ValueThatManyRowsHave_DividesByItself()
    {
        Trainer(new()).Fit(Numbers(3000, i => [i % 3 == 0 ? 0 : i % 3 == 1 ? i : -i]));

        Assert.HasCount(16, Starts(0));
        Assert.HasCount(1, Starts(0).Where(s => s == 0));
        Assert.HasCount(1, Starts(0).Zip(Scales(0), (start, scale) => start + 1 / scale).Where(end => Math.Abs(end) < 1e-3));
    }

    [TestMethod]
    [DataRow(31, 16, DisplayName = "room"), DataRow(100, 5, DisplayName = "less"), DataRow(256, 2, DisplayName = "the least"), DataRow(257, 0, DisplayName = "too little")]
    public void Fit_ManyFeaturesOfManyValues_ShareTheRoom(int features, int each)
    {
        Trainer(new()).Fit(Numbers(2000, i => [.. Enumerable.Range(0, features).Select(f => (float)Math.Sin(i * (f + 1)))]));

        if (each == 0)
            Assert.IsNull(Steps);
        else
            CollectionAssert.AreEqual(Enumerable.Repeat(each, features).ToArray(), Enumerable.Range(0, features).Select(f => Starts(f).Length).ToArray());
    }

    // Of 62 features with 9 values, and 20 with more.
    [TestMethod]
    public void Fit_LevelsLeaveNoRoom_HasStepsOfThemAlone()
    {
        Trainer(new()).Fit(Numbers(2000, i => [.. Enumerable.Range(0, 82).Select(f => f < 62 ? i % 9 : i * 0.37f)]));

        CollectionAssert.AreEqual(Enumerable.Range(0, 62).SelectMany(f => Enumerable.Repeat(f, 8)).ToArray(), Steps.Slot.ToArray());
    }

    [TestMethod]
    public void Fit_AlmostAllMissing_HasTheStepsOfTheRest()
    {
        Trainer(new()).Fit(Numbers(4000, i => [i % 100 == 0 ? i : float.NaN]));

        Assert.HasCount(16, Starts(0));
    }

    [TestMethod]
    [DataRow(1999, true, true, 4, DisplayName = "few rows"), DataRow(2000, false, true, 4, DisplayName = "turned off"), DataRow(2000, true, false, 4, DisplayName = "not scaled"), DataRow(2000, true, true, 0, DisplayName = "a linear model")]
    public void Fit_WhereStepsWouldNotHelp_HasNone(int rows, bool encodes, bool scales, int hidden)
    {
        Trainer(new() { EncodeLevels = encodes, NormalizeFeatures = scales, HiddenLayers = hidden == 0 ? [] : [hidden] }).Fit(Data(rows));

        Assert.IsNull(_backend.Jobs.Single().Module.Mlp.Steps);
    }

    // Values between, below and above those that were seen, missing ones and infinities; saved and loaded.
    [TestMethod]
    [DataRow(NetworkNormalization.None), DataRow(NetworkNormalization.Batch), DataRow(NetworkNormalization.Layer)]
    public void Transform_AnyValue_SaysWhatTheOnnxFileSays(NetworkNormalization normalization)
    {
        var model = Trainer(new() { HiddenLayers = [9], Normalization = normalization }).Fit(Data(2000));
        using var file = new MemoryStream();
        _ml.Model.Save(model, null, file);
        var rows = new[] { Row(3, 1, 0, 0.5f), Row(3.25f, 1, 0, 0.6f), Row(-50, 2, 1, 9), Row(0, 739.63f, 1, -1), Row(23, 400, 0, 1), Row(float.NaN, float.NaN, float.NaN, float.NaN), Row(1e30f, 0, 0, -1e30f) };

        var scores = _ml.Model.Load(file, out _).Transform(_ml.Data.LoadFromEnumerable(rows)).GetColumn<float>("Score").ToArray();

        using var stream = new MemoryStream();
        model.Model.SaveOnnx(stream);
        using var reference = new OnnxRuntimeScorer(stream.ToArray(), 4, 1);
        var run = reference.CreateRunner();
        var expected = new float[1];
        foreach (var (row, score) in rows.Zip(scores))
        {
            run(row.Features, expected);
            Assert.AreEqual(expected[0], score, 1e-4f * Math.Max(1, Math.Abs(expected[0])));
        }

        Assert.AreNotEqual(scores[0], scores[1]);
    }

    [TestMethod]
    public void Fit_StartingFromOne_TakesItsStepsOver()
    {
        var options = new DistributedRegressionTrainer.Options { HiddenLayers = [5] };
        options.StartFrom = Trainer(options).Fit(Data(2000));

        Trainer(options).Fit(Data(50));

        Assert.AreEqual(_backend.Jobs[0].Module.Mlp.Steps, _backend.Jobs[1].Module.Mlp.Steps);
    }

    private FeatureStepsSpec Steps => _backend.Jobs.Single().Module.Mlp.Steps;

    private float[] Starts(int slot) => [.. Steps.Slot.Zip(Steps.Start).Where(s => s.First == slot).Select(s => s.Second)];

    private float[] Scales(int slot) => [.. Steps.Slot.Zip(Steps.Scale).Where(s => s.First == slot).Select(s => s.Second)];

    private IDataView Numbers(int rows, Func<int, float[]> features)
    {
        var schema = SchemaDefinition.Create(typeof(Example));
        schema[nameof(Example.Features)].ColumnType = new VectorDataViewType(NumberDataViewType.Single, features(0).Length);
        return _ml.Data.LoadFromEnumerable(Enumerable.Range(0, rows).Select(i => new Example { Features = features(i), Value = i % 7 }).ToList(), schema);
    }

    private DistributedRegressionTrainer Trainer(DistributedRegressionTrainer.Options options)
    {
        options.LabelColumnName = "Value";
        return _ml.Regression.Trainers.DistributedNeuralNetwork(options);
    }

    private IDataView Data(int rows) => _ml.Data.LoadFromEnumerable(Enumerable.Range(0, rows).Select(i => Row(i % Hours, i * 0.37f, i % 2, i % 11 == 3 ? float.NaN : (i % 3) switch { 0 => -1, 1 => 0.5f, _ => 1 })).ToList());

    private static Example Row(params float[] features) => new() { Features = features, Value = float.IsNaN(features[0]) ? 0 : features[0] % 5 };

    private sealed class Example
    {
        [VectorType(4)]
        public float[] Features { get; set; } = [];

        public float Value { get; set; }
    }
}
