using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Features with few values go in value by value too.</summary>
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

        var steps = _backend.Jobs.Single().Module.Mlp.Steps;
        CollectionAssert.AreEqual(Enumerable.Repeat(0, Hours - 1).Concat([3, 3]).ToArray(), steps.Slot.ToArray(), "Neither numbers nor flags have steps.");
        CollectionAssert.AreEqual(Enumerable.Range(0, Hours - 1).Select(h => (float)h).Concat([-1, 0.5f]).ToArray(), steps.Start.ToArray());
        CollectionAssert.AreEqual(Enumerable.Repeat(1f, Hours - 1).Concat([1 / 1.5f, 2]).ToArray(), steps.Scale.ToArray());
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
    public void Transform_AnyValue_SaysWhatTheOnnxFileSays()
    {
        var model = Trainer(new() { HiddenLayers = [9] }).Fit(Data(2000));
        using var file = new MemoryStream();
        _ml.Model.Save(model, null, file);
        var rows = new[] { Row(3, 1, 0, 0.5f), Row(3.25f, 1, 0, 0.6f), Row(-50, 2, 1, 9), Row(float.NaN, float.NaN, float.NaN, float.NaN), Row(1e30f, 0, 0, -1e30f) };

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
