using MLDistributed.Protocol;

namespace Training.Tests.Loop;

/// <summary>The same model on any number of ranks.</summary>
[TestClass]
public sealed class WorldSizeTests
{
    private static readonly Dictionary<string, Action<JobSpec>> s_cases = new()
    {
        ["plain"] = _ => { },
        ["dropout"] = s => s.Module.Mlp.Dropout = 0.3,
        ["batch norm"] = s => s.Module.Mlp.Normalization = LayerNormalization.Batch,
        ["layer norm, gelu"] = s => (s.Module.Mlp.Normalization, s.Module.Mlp.Activation) = (LayerNormalization.Layer, Activation.Gelu),
        ["dropout, batch norm, adamw, clipping, cosine, smoothing, class weights"] = s =>
        {
            s.Module.Mlp.Dropout = 0.2;
            s.Module.Mlp.Normalization = LayerNormalization.Batch;
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 }, LearningRate = 2e-3, WeightDecay = 0.01 };
            s.GradientClipNorm = 0.5;
            s.Schedule = new ScheduleSpec { Kind = ScheduleKind.Cosine, WarmupFraction = 0.1 };
            s.LabelSmoothing = 0.1;
            s.ClassWeights.Add([1f, 2f, 0.5f]);
        },
        ["weights, validation"] = s => s.Data.ValidationFraction = 0.2,
        ["accumulated gradients, dropout"] = s => (s.MaxMicroBatchSize, s.Module.Mlp.Dropout) = (5, 0.2),
        ["large layers, batch norm"] = s =>
        {
            s.Module.Mlp.HiddenSizes.Clear();
            s.Module.Mlp.HiddenSizes.Add([512, 512]);
            s.Module.Mlp.Normalization = LayerNormalization.Batch;
        },
        ["steps"] = s =>
        {
            s.Data.Features = new FeatureScaling { Mean = { 0, 0, 0, 0, 0 }, Scale = { 1, 1, 1, 1, 1 } };
            s.Module.Mlp.Steps = new FeatureStepsSpec { Slot = { 0, 0, 2 }, Start = { -1, 0, 0.5f }, Scale = { 1, 2, 1 } };
        },
        ["categories, steps"] = s =>
        {
            s.Data.Features = new FeatureScaling { Mean = { 0, 0, 0, 0, 0 }, Scale = { 1, 1, 1, 1, 1 } };
            s.Module.Mlp.Categories.Add([new CategorySpec { KeyCount = 2, Width = 3 }, new CategorySpec { KeyCount = 4, Width = 1 }]);
            s.Module.Mlp.Steps = new FeatureStepsSpec { Slot = { 0, 2 }, Start = { -1, 0 }, Scale = { 1, 2 } };
        },
        ["categories, large layers"] = s =>
        {
            s.Module.Mlp.HiddenSizes.Clear();
            s.Module.Mlp.HiddenSizes.Add([512, 512]);
            s.Module.Mlp.Categories.Add(Enumerable.Repeat(new CategorySpec { KeyCount = 2, Width = 200 }, 5));
        },
        ["linear model"] = s => s.Module.Mlp.HiddenSizes.Clear(),
    };

    public static IEnumerable<object[]> Cases => s_cases.Keys.Select(k => new object[] { k });

    [TestMethod, DynamicData(nameof(Cases))]
    public void Train_OnOneToFourRanks_LossesAreTheSame(string name)
    {
        using var folder = new TempFolder();
        // 650 rows of 32: the last step has 10, and with 4 ranks an uneven split.
        Datasets.WriteClouds(folder["data"], 650, name.StartsWith("weights", StringComparison.Ordinal) ? i => 0.5f + i % 4 : null);
        var spec = Cluster.Spec(s => s.Epochs = 10);
        s_cases[name](spec);
        var one = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        Assert.HasCount(one.Result.Steps > 200 ? (int)one.Result.Steps : 170, one.Losses);
        Assert.IsLessThan(one.Losses[0] * 0.95, one.Losses[^5..].Average(), "Nothing was learnt.");
        foreach (var world in new[] { 2, 3, 4 })
        {
            var run = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
            Assert.HasCount(one.Losses.Length, run.Losses);
            for (var step = 0; step < Math.Min(200, one.Losses.Length); step++)
                Assert.AreEqual(one.Losses[step], run.Losses[step], 1e-4 * Math.Abs(one.Losses[step]), $"{world} ranks, step {step}");
            CollectionAssert.AreEqual(Enumerable.Range(1, one.Losses.Length).Select(i => (long)i).ToArray(), run.Recorders[0].Losses.Select(l => l.Step).ToArray());
        }
    }

    [TestMethod]
    public void Train_AnyMicroBatchSize_IsTheSame()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100);
        var spec = Cluster.Spec(s => (s.Module.Mlp.Dropout, s.Data.ValidationFraction) = (0.2, 0.1));
        var whole = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        foreach (var rows in (int[])[1, 3, 16, 1000])
        {
            spec.MaxMicroBatchSize = rows;
            var taken = new System.Collections.Concurrent.ConcurrentBag<long>();
            var run = Cluster.Train(spec, 2, folder["data"], configure: r => r.Value with { RowTaken = (_, row) => taken.Add(row) }).ShouldSucceed();
            for (var step = 0; step < whole.Losses.Length; step++)
                Assert.AreEqual(whole.Losses[step], run.Losses[step], 1e-4 * whole.Losses[step], $"{rows} rows at once, step {step + 1}");
            Assert.AreEqual(whole.Result.ValidationLoss, run.Result.ValidationLoss, 1e-4 * whole.Result.ValidationLoss);
            Assert.IsTrue(taken.GroupBy(r => r).All(g => g.Count() == spec.Epochs), "A row was not taken once an epoch.");
        }
    }

    [TestMethod, DataRow(0), DataRow(5)]
    public void Train_PrefetchedBatches_AreTheSame(int microBatch)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100, i => 0.5f + i % 4);
        var spec = Cluster.Spec(s => (s.Data.ValidationFraction, s.MaxMicroBatchSize) = (0.1, microBatch));
        var (inTurn, beside) = (Train(false), Train(true));
        CollectionAssert.AreEqual(inTurn.Losses, beside.Losses);
        CollectionAssert.AreEqual(inTurn.AllWeights(), beside.AllWeights());

        Run Train(bool prefetch) => Cluster.Train(spec, 2, folder["data"], configure: r => r.Value with { Prefetch = prefetch }).ShouldSucceed();
    }

    [TestMethod]
    public void Train_PrefetchedBatchWithABadLabel_FailsWithIt()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 100, i => [i, 0, 0, 0, 0], i => i == 77 ? 9 : i % 3);
        var run = Cluster.Train(Cluster.Spec(), 2, folder["data"], configure: r => r.Value with { Prefetch = true });
        Assert.IsTrue(run.Failures.Any(f => f!.Message.Contains("Label of row 77 is 9, expected a class from 0 to 2", StringComparison.Ordinal)));
    }

    [TestMethod]
    public void Train_FewerRowsThanRanks_IsTheSame()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 34);
        var spec = Cluster.Spec(s => s.Module.Mlp.Normalization = LayerNormalization.Batch);
        var one = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var four = Cluster.Train(spec, 4, folder["data"]).ShouldSucceed();
        for (var step = 0; step < one.Losses.Length; step++)
            Assert.AreEqual(one.Losses[step], four.Losses[step], 1e-4 * Math.Abs(one.Losses[step]));
    }

    // On seven, whoever runs does what others have not begun: other ranks each time.
    [TestMethod, DataRow(2, 0.0), DataRow(7, 0.0), DataRow(7, 0.1)]
    public void Train_Twice_GivesTheSameBits(int world, double clip)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 200);
        var spec = Cluster.Spec(s => (s.Module.Mlp.Dropout, s.GradientClipNorm) = (0.2, clip));
        var first = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
        var second = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
        Assert.IsNotEmpty(first.Weights);
        CollectionAssert.AreEqual(first.Weights, second.Weights);
    }
}
