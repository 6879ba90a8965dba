namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class LabelNoiseTests
{
    private readonly Random _random = new(7);

    [TestMethod]
    [DataRow(0.0, 0.0, 0.1, DisplayName = "the row tells"), DataRow(0.3, 0.35, 0.6, DisplayName = "three in ten are drawn"), DataRow(1.0, 0.9, 1.1, DisplayName = "all are drawn")]
    public void Of_Classes_IsAboutTwiceTheShareThatIsDrawn(double drawn, double least, double most)
    {
        var noise = Noise(3000, () =>
        {
            var x = new[] { _random.NextSingle(), _random.NextSingle() };
            return (x, _random.NextDouble() < drawn ? _random.Next(9) : (int)(x[0] * 3) + (3 * (int)(x[1] * 3)));
        });

        Assert.IsTrue(noise >= least && noise <= most, $"{noise}");
    }

    [TestMethod]
    public void Of_Numbers_IsTheShareOfTheVarianceThatIsNoise()
    {
        // A variance of 1/12 of the feature's, and as much of noise.
        var noise = Noise(4000, () => ([_random.NextSingle()], 0f), hasClasses: false, label: x => x[0] + _random.NextSingle());

        Assert.AreEqual(0.5, noise!.Value, 0.08);
    }

    [TestMethod]
    public void Of_IdsOfCategories_CountsWhetherTheyAreTheSame()
    {
        // Neighbouring ids have nothing to do with one another.
        var noise = Noise(3000, () => ([_random.Next(500)], 0f), categories: 1, label: x => (int)x[0] * 7919 % 500 % 2);

        Assert.AreEqual(0, noise!.Value, 0.05);
    }

    // Of one class that stands apart and three that nothing tells from one another.
    [TestMethod]
    public void Of_RowsInTheOrderOfTheirLabels_LooksAtAll()
    {
        var (of, i) = (4000, 0);
        var noise = Noise(of, () => (i++ * 4 / of) is var label && label == 0 ? ([10 + _random.NextSingle()], 0f) : ([_random.NextSingle()], label));

        Assert.AreEqual(0.67, noise!.Value, 0.1);
    }

    // One of a million decides the variance, and is next to nobody.
    [TestMethod]
    public void Of_NumbersOfWhichOneIsFar_IsNotKnown()
    {
        var i = 0;
        Assert.IsNull(Noise(4000, () => ([_random.NextSingle()], i++ == 3000 ? 1e6f : _random.NextSingle()), hasClasses: false));
    }

    // Nine in ten of a key's rows have one label: two rows of it differ in 0.18 of all cases, any two in half.
    [TestMethod]
    public void Of_ManyRowsThatAreEqual_CountsAllOfThem()
    {
        for (var seed = 0; seed < 5; seed++)
        {
            var random = new Random(seed);
            var noise = Noise(3000, () => random.Next(2) is var id && random.Next(10) == 0 ? ([id], 1f - id) : ([id], id), categories: 1);
            Assert.AreEqual(0.36, noise!.Value, 0.06, $"{seed}");
        }
    }

    [TestMethod]
    public void Of_RowsThatAreThereTwice_IsThatOfOnce()
    {
        var once = Enumerable.Range(0, 2000).Select(_ => (new[] { _random.NextSingle(), _random.NextSingle() }, (float)_random.Next(2))).ToArray();
        var i = 0;

        Assert.AreEqual(1, Noise(4000, () => once[i++ % once.Length])!.Value, 0.1);
    }

    [TestMethod]
    public void Of_ScaleAndMissingNumbers_DoNotMatter()
    {
        var noise = Noise(3000, () => ([_random.NextSingle(), _random.Next(5) == 0 ? float.NaN : 1e6f], 0f), label: x => (int)(x[0] * 2));

        Assert.IsLessThan(0.1, noise!.Value);
    }

    [TestMethod]
    public void Of_FewRowsOrRarePositives_IsNotKnown()
    {
        Assert.IsNull(Noise(200, () => ([_random.NextSingle()], 0f), label: x => (int)(x[0] * 2)));
        Assert.IsNull(Noise(3000, () => ([_random.NextSingle()], 0f), label: x => x[0] > 0.99f ? 1 : 0));
        Assert.IsNull(Noise(3000, () => ([_random.NextSingle()], 4f)));
    }

    [TestMethod]
    [DataRow(true, true, 32, DisplayName = "rows tell"), DataRow(false, true, 64, DisplayName = "labels are drawn"), DataRow(true, false, 64, DisplayName = "linear model")]
    public void Fit_RowsThatTellTheirLabels_HaveSmallerBatches(bool tell, bool isDeep, int batchSize)
    {
        using var backend = new FakeBackend { Weights = mlp => RandomNetworks.Weights(new Random(5), mlp) };
        var ml = new MLContext(seed: 1).UseCluster(backend);
        var rows = ml.Data.LoadFromEnumerable(Enumerable.Range(0, 4000).Select(i => new Row { Features = [i % 100, i / 100], Label = tell ? i % 100 > 40 : _random.Next(2) == 0 }).ToArray());

        ml.BinaryClassification.Trainers.DistributedNeuralNetwork(hiddenLayers: isDeep ? null : []).Fit(rows);

        Assert.AreEqual(batchSize, backend.Jobs.Single().GlobalBatchSize);
    }

    private static double? Noise(int rows, Func<(float[] X, float Label)> draw, bool hasClasses = true, int categories = 0, Func<float[], float>? label = null)
    {
        var drawn = Enumerable.Range(0, rows).Select(_ => draw()).Select(row => (row.X, Label: label?.Invoke(row.X) ?? row.Label)).ToArray();
        var size = drawn[0].X.Length;
        var statistics = new FeatureStatistics(size) { Levels = new FeatureLevels(size, 32) };
        statistics.Add([.. drawn.SelectMany(row => row.X)], [.. drawn.Select(row => row.Label)]);
        return LabelNoise.Of(statistics.Levels.Sample, statistics, size, categories, hasClasses);
    }

    private sealed class Row
    {
        public bool Label { get; init; }

        [Microsoft.ML.Data.VectorType(2)]
        public float[] Features { get; init; } = [];
    }
}
