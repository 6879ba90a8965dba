using System.Collections.Concurrent;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

/// <summary>Rankings on a local cluster, from Fit to a loaded model.</summary>
[TestClass]
public sealed class RankingTests
{
    [TestMethod]
    public void Fit_OnOneAndThreeRanks_RanksHeldOutQueriesAlikeAndTellsMlNetsOwnNdcg()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Queries(ml), 0.2, samplingKeyColumnName: "GroupId");

        var runs = Array.ConvertAll([1, 3], ranks =>
        {
            var losses = new List<StepLoss>();
            var model = ml.Ranking.Trainers.DistributedNeuralNetwork(new DistributedRankingTrainer.Options
            {
                ValidationSet = split.TestSet,
                MinRanks = ranks,
                MaxRanks = ranks,
                Epochs = 3,
                Seed = 5,
                Progress = new Listener(p => losses.AddRange(p.RecentLosses)),
            }).Fit(split.TrainSet);
            return (Model: model, Ndcg: Ndcg(ml, model.Transform(split.TestSet)), Losses: losses);
        });

        Assert.AreEqual(3, runs[1].Model.Model.Summary.WorldSize);
        for (var step = 0; step < 20; step++)
            Assert.AreEqual(runs[0].Losses[step].Loss, runs[1].Losses[step].Loss, 1e-3 * runs[0].Losses[step].Loss, $"step {step + 1}");
        foreach (var (model, ndcg, _) in runs)
        {
            Assert.IsGreaterThan(0.7, ndcg[9], "Rows in any order have 0.5.");
            foreach (var level in (int[])[1, 3, 5, 10])
                Assert.AreEqual(ndcg[level - 1], model.Model.Summary.ValidationMetrics[$"NDCG@{level}"], 1e-4);
            Assert.AreEqual(model.Model.Summary.History.Max(e => e.ValidationMetrics["NDCG@10"]), model.Model.Summary.ValidationMetrics["NDCG@10"]);
        }

        using var file = new MemoryStream();
        ml.Model.Save(runs[0].Model, split.TestSet.Schema, file);
        var loaded = new MLContext().Model.Load(file, out _);
        CollectionAssert.AreEqual(Scores(runs[0].Model.Transform(split.TestSet)), Scores(loaded.Transform(split.TestSet)));
    }

    [TestMethod]
    public void Fit_WhenARankIsKilled_ReturnsTheSameModel()
    {
        var undisturbed = Train(onSecondEpoch: null, out _);

        var disturbed = Train(cluster => FaultTests.Kill(cluster, "rank"), out var messages);

        Assert.IsTrue(messages.Any(m => m.Contains("SIGKILL", StringComparison.Ordinal)), string.Join('\n', messages));
        CollectionAssert.AreEqual(undisturbed, disturbed, "On as many ranks as before it is the same model, bit for bit.");

        static float[] Train(Action<TrainingCluster>? onSecondEpoch, out ConcurrentQueue<string> messages)
        {
            using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 2 });
            var ml = new MLContext(1);
            ml.UseCluster(cluster);
            var heard = messages = [];
            ml.Log += (_, e) => heard.Enqueue(e.Message);
            var act = onSecondEpoch;
            var data = DataSets.Queries(ml);
            var model = ml.Ranking.Trainers.DistributedNeuralNetwork(new DistributedRankingTrainer.Options
            {
                MinRanks = 2,
                MaxRanks = 2,
                Epochs = 8,
                Seed = 3,
                CheckpointInterval = TimeSpan.FromMilliseconds(20),
                Progress = new Listener(p =>
                {
                    if (p.Epoch >= 2)
                        Interlocked.Exchange(ref act, null)?.Invoke(cluster);
                }),
            }).Fit(data);
            return Scores(model.Transform(data));
        }
    }

    private static IReadOnlyList<double> Ndcg(MLContext ml, IDataView scored) =>
        ml.Ranking.Evaluate(scored, new RankingEvaluatorOptions { DcgTruncationLevel = 10 }).NormalizedDiscountedCumulativeGains;

    private static float[] Scores(IDataView scored) => [.. scored.GetColumn<float>("Score")];
}
