using MLDistributed.Protocol;
using Training.Tests.Loop;

namespace Training.Tests.Ranking;

/// <summary>Jobs whose batches are whole groups.</summary>
[TestClass]
public sealed class RankingTrainingTests
{
    private static readonly Dictionary<string, Action<JobSpec>> s_cases = new()
    {
        ["plain"] = _ => { },
        ["dropout"] = s => s.Module.Mlp.Dropout = 0.2,
        ["batch norm"] = s => s.Module.Mlp.Normalization = LayerNormalization.Batch,
        ["adamw, validation, truncation"] = s =>
        {
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 }, LearningRate = 2e-3, WeightDecay = 0.01 };
            s.Data.ValidationFraction = 0.2;
            s.Loss = new LossSpec { LambdaRank = new LambdaRankLossSpec { TruncationLevel = 3 } };
        },
        ["a batch smaller than a group"] = s => s.GlobalBatchSize = 1,
        ["all rows a step"] = s => (s.GlobalBatchSize, s.Optimizer.LearningRate) = (int.MaxValue, 1),
    };

    public static IEnumerable<object[]> Cases => s_cases.Keys.Select(k => new object[] { k });

    [TestMethod, DynamicData(nameof(Cases))]
    public void Train_OnOneToFourRanks_LossesAndMetricsAreTheSame(string name)
    {
        using var folder = new TempFolder();
        WriteGroups(folder["data"], 120);
        var spec = Spec(s_cases[name]);
        var one = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        Assert.IsLessThan(one.Result.History[0].TrainingLoss * 0.95, one.Result.History[^1].TrainingLoss, "Nothing was learnt.");
        foreach (var world in new[] { 2, 3, 4 })
        {
            var run = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
            Assert.HasCount(one.Losses.Length, run.Losses);
            for (var step = 0; step < Math.Min(60, one.Losses.Length); step++)
                Assert.AreEqual(one.Losses[step], run.Losses[step], 1e-3 * Math.Abs(one.Losses[step]), $"{world} ranks, step {step}");
            for (var i = 0; i < 4; i++)
                Assert.AreEqual(one.Result.History[0].TrainingMetrics[i], run.Result.History[0].TrainingMetrics[i], 1e-3, MetricNames.Of(MlTask.Ranking)[i]);
        }
    }

    [TestMethod]
    public void Train_EpochBitExact_IsTheSameOnAnyNumberOfRanks()
    {
        using var folder = new TempFolder();
        WriteGroups(folder["data"], 60);
        var spec = Spec(s => (s.BitExact, s.Data.ValidationFraction) = (new BitExactSpec { MicroBatches = 8 }, 0.2));
        var one = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();

        var three = Cluster.Train(spec, 3, folder["data"]).ShouldSucceed();

        CollectionAssert.AreEqual(one.Weights, three.Weights);
    }

    [TestMethod, DataRow(false), DataRow(true)]
    public void Train_EachEpoch_TakesEachGroupOnceAndNoneOfThoseHeldOut(bool prefetch)
    {
        using var folder = new TempFolder();
        WriteGroups(folder["data"], 50);
        var spec = Spec(s => s.Data.ValidationFraction = 0.2);
        var taken = new System.Collections.Concurrent.ConcurrentBag<long>();

        Cluster.Train(spec, 1, folder["data"], configure: r => r.Value with { Prefetch = prefetch, RowTaken = (_, group) => taken.Add(group) }).ShouldSucceed();

        var counts = taken.GroupBy(g => g).ToDictionary(g => g.Key, g => g.Count());
        Assert.HasCount(40, counts);
        Assert.IsTrue(counts.Values.All(count => count == spec.Epochs));
    }

    [TestMethod]
    public void Train_FromACheckpointWithinAnEpochOnOtherRanks_GoesOnAsIfNothingHadHappened()
    {
        using var folder = new TempFolder();
        WriteGroups(folder["data"], 120);
        var spec = Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 1e-9 });
        var whole = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        var perEpoch = whole.Result.Steps / spec.Epochs;
        var (_, step, checkpoint) = whole.Recorders[0].Checkpoints.First(c => c.Step > perEpoch && c.Step % perEpoch != 0);
        File.WriteAllBytes(folder["checkpoint"], checkpoint);

        var resumed = Cluster.Train(spec, 3, folder["data"], folder["checkpoint"]).ShouldSucceed();

        Assert.AreEqual(step + 1, resumed.Recorders[0].Losses[0].Step);
        for (var i = 0; i < 20; i++)
            Assert.AreEqual(whole.Losses[step + i], resumed.Losses[i], 1e-3 * Math.Abs(whole.Losses[step + i]));
    }

    [TestMethod]
    public void Train_BestEpoch_IsTheOneWithTheHighestNdcg()
    {
        using var folder = new TempFolder();
        WriteGroups(folder["data"], 60);
        var spec = Spec(s => (s.Data.ValidationFraction, s.Epochs, s.Optimizer.LearningRate) = (0.3, 12, 0.5));

        var result = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed().Result;

        var highest = result.History.Max(e => e.ValidationMetrics[3]);
        Assert.AreEqual(result.History.First(e => e.ValidationMetrics[3] == highest).Epoch, result.BestEpoch);
        Assert.AreNotEqual(result.History.MinBy(e => e.ValidationLoss)!.Epoch, result.BestEpoch, "The data does not tell NDCG and loss apart.");
    }

    [TestMethod]
    public void Train_ValidationSetOfItsOwn_HasItsGroups()
    {
        using var folder = new TempFolder();
        WriteGroups(folder["data"], 40);
        WriteGroups(folder["validation"], 15, seed: 9);
        var spec = Spec(s => s.Data.ValidationDatasetId = new string('0', 64));

        var history = Cluster.Train(spec, 2, folder["data"], validationPath: folder["validation"]).ShouldSucceed().Result.History;

        Assert.IsTrue(history.All(e => e.ValidationMetrics.Count == 4 && e.ValidationMetrics.All(m => m is > 0 and <= 1)));
    }

    [TestMethod]
    [DataRow(5, 31f, "Label of row 5 is 31, expected a degree of relevance from 0 to 30")]
    [DataRow(5, 0.5f, "Label of row 5 is 0.5, expected a degree of relevance")]
    [DataRow(5, float.NaN, "Label of row 5 is NaN")]
    [DataRow(0, 1f, "Label of row 0 is 1, expected a degree of relevance from 0 to 30, negative where a group begins")]
    public void Train_LabelThatIsNone_FailsInWords(int row, float label, string expected)
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 20, i => [i, 0, 0, 0, 0], i => i == row ? label : RankingLabel.Of(i % 3, i % 10 == 0));

        var run = Cluster.Train(Spec(), 1, folder["data"]);

        Assert.Contains(expected, run.Failures[0]!.Message);
    }

    private static JobSpec Spec(Action<JobSpec>? change = null) => Cluster.Spec(s =>
    {
        (s.Task, s.Module.Mlp.OutputSize, s.Epochs, s.GlobalBatchSize) = (MlTask.Ranking, 1, 6, 60);
        change?.Invoke(s);
    });

    // Of 1 to 20 rows; the first feature is of the group alone, and says nothing of its rows' order.
    private static void WriteGroups(string path, int count, int seed = 4)
    {
        var random = new Random(seed);
        var rows = new List<(float[] Features, float Label)>();
        for (var group = 0; group < count; group++)
        {
            var size = random.Next(1, 21);
            var ofGroup = random.NextSingle() * 4;
            for (var row = 0; row < size; row++)
            {
                float[] features = [ofGroup, .. Enumerable.Range(0, 4).Select(_ => random.NextSingle() * 2 - 1)];
                var relevance = Math.Clamp((int)(2 + 1.5 * features[1] + features[2] * features[3] + random.NextDouble() - 0.5), 0, 4);
                rows.Add((features, RankingLabel.Of(relevance, row == 0)));
            }
        }

        Datasets.Write(path, 5, rows.Count, i => rows[i].Features, i => rows[i].Label, rowsPerBatch: 64);
    }
}
