using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Sparse features from Fit to the score.</summary>
[TestClass]
public sealed class SparseTrainerTests : IDisposable
{
    private readonly FakeBackend _backend = new() { Weights = mlp => RandomNetworks.Weights(new Random(5), mlp) };
    private readonly MLContext _ml;

    public SparseTrainerTests() => _ml = new MLContext(seed: 1).UseCluster(_backend);

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    [DataRow(2000, 256), DataRow(70_000, 128), DataRow(1 << 20, 16)]
    public void Fit_SparseFeatures_ChoosesAFirstLayerThatFits(int size, int width)
    {
        _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(Data(size));

        var spec = _backend.Jobs.Single();
        CollectionAssert.AreEqual(new[] { width, 128 }, spec.Module.Mlp.HiddenSizes.ToArray());
        Assert.AreEqual(3, spec.Module.Mlp.Sparse.MeanNonZeros, 0.1);
        Assert.AreEqual(DeviceKind.Cpu, spec.Resources.Device);
        Assert.IsLessThan(1 << 20, (long)BatchMemory.LeastBytes(spec, spec.Data.RowCount, 1, isOnGpu: true));
    }

    [TestMethod]
    public void Fit_SparseFeaturesBesideOptionsThatNeedDenseOnes_AreDense()
    {
        foreach (var change in (Action<DistributedRegressionTrainer.Options>[])[o => o.Reproducibility = Reproducibility.BitExact, o => o.WeightAveraging = new WeightAveraging(), o => o.FeatureEncoding = FeatureEncoding.Dense])
        {
            var options = new DistributedRegressionTrainer.Options { LabelColumnName = "Value", HiddenLayers = [4] };
            change(options);
            _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(Data(2000));
        }

        Assert.IsTrue(_backend.Jobs.TrueForAll(j => j.Module.Mlp.Sparse is null));
    }

    [TestMethod]
    public void Fit_SparseAskedForBesideWhatItCannotDo_SaysAll()
    {
        var options = new DistributedRegressionTrainer.Options { LabelColumnName = "Value", FeatureEncoding = FeatureEncoding.Sparse, Reproducibility = Reproducibility.BitExact, WeightAveraging = new WeightAveraging() };

        var error = Assert.ThrowsExactly<ArgumentException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(Data(2000)));

        StringAssert.Contains(error.Message, "Reproducibility is BitExact beside sparse features");
        StringAssert.Contains(error.Message, "WeightAveraging is on beside sparse features");
    }

    // Saved, loaded and converted; rows in both forms, with missing values, slots that were never seen and none at all.
    [TestMethod]
    [DataRow(NetworkNormalization.None, new[] { 7, 5 }), DataRow(NetworkNormalization.Batch, new[] { 7 }), DataRow(NetworkNormalization.Layer, new[] { 7 }), DataRow(NetworkNormalization.None, new int[0])]
    public void Transform_AnyRow_SaysWhatTheOnnxFileSays(NetworkNormalization normalization, int[] hidden)
    {
        const int Size = 1500;
        var model = _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", HiddenLayers = hidden, Normalization = normalization }).Fit(Data(Size));
        using var file = new MemoryStream();
        _ml.Model.Save(model, null, file);
        var loaded = _ml.Model.Load(file, out _);
        var dense = new float[Size];
        (dense[3], dense[40], dense[41], dense[700], dense[1499]) = (1.5f, float.NaN, -2, 3, 4);
        var rows = new[]
        {
            new VBuffer<float>(Size, dense),
            new VBuffer<float>(Size, 5, [1.5f, float.NaN, -2, 3, 4], [3, 40, 41, 700, 1499]),
            new VBuffer<float>(Size, 0, [], []),
        };

        var scores = loaded.Transform(Load(rows, Size)).GetColumn<float>("Score").ToArray();

        using var stream = new MemoryStream();
        model.Model.SaveOnnx(stream);
        using var reference = new OnnxRuntimeScorer(stream.ToArray(), Size, 1);
        var run = reference.CreateRunner();
        foreach (var (row, score) in rows.Zip(scores))
        {
            var expected = new float[1];
            run([.. row.DenseValues()], expected);
            Assert.AreEqual(expected[0], score, 1e-4f * Math.Max(1, Math.Abs(expected[0])));
        }

        Assert.AreEqual(scores[0], scores[1], 1e-5f * Math.Abs(scores[0]));
        Assert.AreNotEqual(scores[1], scores[2]);
    }

    [TestMethod]
    public void Fit_StartingFromASparseNetwork_IsSparseWithItsScaling()
    {
        var trainer = new DistributedRegressionTrainer.Options { LabelColumnName = "Value" };
        trainer.StartFrom = _ml.Regression.Trainers.DistributedNeuralNetwork(trainer).Fit(Data(70_000));

        _ml.Regression.Trainers.DistributedNeuralNetwork(trainer).Fit(Data(70_000, seed: 9));

        var (first, second) = (_backend.Jobs[0], _backend.Jobs[1]);
        Assert.AreEqual(first.Data.Features, second.Data.Features);
        Assert.AreEqual((128, 128), (second.Module.Mlp.HiddenSizes[0], second.Module.Mlp.HiddenSizes[1]));
        trainer.FeatureEncoding = FeatureEncoding.Dense;
        trainer.HiddenLayers = [128, 128];
        StringAssert.Contains(Assert.ThrowsExactly<ArgumentException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork(trainer).Fit(Data(70_000))).Message, "StartFrom has FeatureEncoding Sparse, expected Dense");
    }

    // Sparse layers of the default size would fit; dense rows do not.
    [TestMethod]
    public void Fit_VeryWideDenseRows_AreRefusedOnceSeen()
    {
        const int Size = 3_000_000;
        var row = new float[Size];
        row.AsSpan().Fill(1);

        var error = Assert.ThrowsExactly<InvalidDataException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(Load([new VBuffer<float>(Size, row), new VBuffer<float>(Size, row)], Size)));

        StringAssert.Contains(error.Message, "which makes 768,033,281 parameters");
        StringAssert.Contains(error.Message, "set FeatureEncoding to Sparse");
    }

    private IDataView Data(int size, int seed = 3)
    {
        var random = new Random(seed);
        return Load([.. Enumerable.Range(0, 40).Select(i => new VBuffer<float>(size, 3, [1, random.NextSingle() + 0.5f, 2], [i, 100 + i * 5, size - 1 - i]))], size);
    }

    private IDataView Load(VBuffer<float>[] rows, int size)
    {
        var definition = SchemaDefinition.Create(typeof(Example));
        definition["Features"].ColumnType = new VectorDataViewType(NumberDataViewType.Single, size);
        return _ml.Data.LoadFromEnumerable(rows.Select((r, i) => new Example { Features = r, Value = i % 5 }), definition);
    }

    private sealed class Example
    {
        public VBuffer<float> Features { get; set; }

        public float Value { get; set; }
    }
}
