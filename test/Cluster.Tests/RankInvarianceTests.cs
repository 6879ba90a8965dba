using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

[TestClass]
public sealed class RankInvarianceTests
{
    [TestMethod]
    public void Fit_OnOneToFourRanks_GivesTheSameModel()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);

        var runs = new[] { 1, 2, 3, 4 }.Select(ranks =>
        {
            var trainer = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
            {
                MinRanks = ranks,
                MaxRanks = ranks,
                Seed = 7,
                Epochs = 10,
                Dropout = 0.1,
            });
            var scored = trainer.Fit(split.TrainSet).Transform(split.TestSet);
            return (Labels: scored.GetColumn<uint>("PredictedLabel").ToArray(), Metrics: ml.MulticlassClassification.Evaluate(scored));
        }).ToArray();

        foreach (var run in runs.Skip(1))
        {
            var differing = run.Labels.Zip(runs[0].Labels).Count(pair => pair.First != pair.Second);
            Assert.IsLessThanOrEqualTo(2, differing);
            Assert.AreEqual(runs[0].Metrics.MicroAccuracy, run.Metrics.MicroAccuracy, 0.005);
            Assert.AreEqual(runs[0].Metrics.LogLoss, run.Metrics.LogLoss, 0.005);
        }
    }
}
