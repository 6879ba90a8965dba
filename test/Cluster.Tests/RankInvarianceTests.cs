using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

[TestClass]
public sealed class RankInvarianceTests
{
    private const int StepsCompared = 200;
    private const float ScoreTolerance = 0.02f; // what rounding in the first steps has grown to after 400

    [TestMethod]
    public void Fit_OnOneToFourRanks_GivesTheSameModel()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);

        var runs = new[] { 1, 2, 3, 4 }.Select(ranks =>
        {
            var losses = new List<StepLoss>();
            var trainer = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
            {
                MinRanks = ranks,
                MaxRanks = ranks,
                Seed = 7,
                Epochs = 10,
                Dropout = 0.1,
                Progress = new Listener(p => losses.AddRange(p.RecentLosses)),
            });
            var scored = trainer.Fit(split.TrainSet).Transform(split.TestSet);
            return (Scores: scored.GetColumn<float[]>("Score").SelectMany(s => s).ToArray(), Metrics: ml.MulticlassClassification.Evaluate(scored), Losses: losses);
        }).ToArray();

        foreach (var run in runs.Skip(1))
        {
            Assert.IsLessThan(ScoreTolerance, run.Scores.Zip(runs[0].Scores, (x, y) => Math.Abs(x - y)).Max(), "Every probability of every row is the same, up to rounding.");
            Assert.AreEqual(runs[0].Metrics.MicroAccuracy, run.Metrics.MicroAccuracy, 0.005);
            Assert.AreEqual(runs[0].Metrics.LogLoss, run.Metrics.LogLoss, 0.005);
            for (var i = 0; i < StepsCompared; i++)
                Assert.AreEqual(runs[0].Losses[i].Loss, run.Losses[i].Loss, 1e-4 * runs[0].Losses[i].Loss, $"step {i + 1}");
        }

        foreach (var run in runs)
            CollectionAssert.AreEqual(Enumerable.Range(1, run.Losses.Count).Select(i => (long)i).ToArray(), run.Losses.Select(l => l.Step).ToArray());
        Assert.IsGreaterThan(StepsCompared, runs[0].Losses.Count);
    }
}
