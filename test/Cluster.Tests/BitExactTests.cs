using System.Collections.Concurrent;
using System.Security.Cryptography;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

/// <summary>Reproducibility.BitExact with real rank processes.</summary>
[TestClass]
public sealed class BitExactTests
{
    [TestMethod]
    public void Fit_OnOneToFourRanks_GivesTheSameBits()
    {
        var ml = SharedCluster.NewContext();
        var data = DataSets.Digits(ml);
        Assert.HasCount(1, new[] { 1, 2, 3, 4 }.Select(ranks => Fit(ml, data, Options(ranks, epochs: 3))).Distinct().ToArray());
    }

    [TestMethod, TestCategory("Slow")]
    public void Fit_RanksKilledThreeTimes_GivesTheSameBits()
    {
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 3 });
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        ConcurrentQueue<string> messages = [];
        ml.Log += (_, e) =>
        {
            if (e.Message.Contains("recovering: ", StringComparison.Ordinal) && e.Message.Contains("SIGKILL", StringComparison.Ordinal))
                messages.Enqueue(e.Message);
        };
        var data = DataSets.Digits(ml);
        const int epochs = 24;
        var undisturbed = Fit(ml, data, Options(2, epochs));

        var options = Options(3, epochs);
        options.MaxAttempts = 9;
        // Within epochs too: a kill costs a few steps.
        options.CheckpointInterval = TimeSpan.FromMilliseconds(20);
        var random = new Random(1);
        var kills = new Queue<double>(new[] { random.NextDouble(), random.NextDouble(), random.NextDouble() }.Order().Select(x => 0.1 + 0.8 * x));
        options.Progress = new Listener(p =>
        {
            if (p.Fraction < 1 && kills.TryPeek(out var next) && p.Fraction >= next)
            {
                kills.Dequeue();
                FaultTests.Kill(cluster, "rank");
            }
        });
        Assert.AreEqual(undisturbed, Fit(ml, data, options));
        Assert.IsEmpty(kills);
        // Two kills within one report make one recovery.
        Assert.IsNotEmpty(messages);
    }

    [TestMethod, TestCategory("Slow")]
    public void Fit_OnManyRanksOfWhichOneIsKilled_GivesTheSameBitsAndTakesEveryStepOnce()
    {
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 11 });
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        ConcurrentQueue<string> recoveries = [];
        ml.Log += (_, e) =>
        {
            if (e.Message.Contains("recovering: ", StringComparison.Ordinal) && e.Message.Contains("SIGKILL", StringComparison.Ordinal))
                recoveries.Enqueue(e.Message);
        };
        var data = DataSets.Digits(ml);
        const int epochs = 6;
        var steps = new List<StepLoss>();
        var calm = Options(2, epochs);
        calm.Progress = new Listener(p => steps.AddRange(p.RecentLosses));
        var undisturbed = Fit(ml, data, calm);
        CollectionAssert.AreEqual(Enumerable.Range(1, steps.Count).Select(i => (long)i).ToArray(), steps.Select(l => l.Step).ToArray());

        foreach (var ranks in new[] { 6, 8, 11 })
        {
            var (told, isKilled) = (new List<StepLoss>(), false);
            recoveries.Clear();
            var options = Options(ranks, epochs);
            options.CheckpointInterval = TimeSpan.FromMilliseconds(20);
            options.Progress = new Listener(p =>
            {
                told.AddRange(p.RecentLosses);
                if (p.Fraction is < 0.4 or 1 || isKilled)
                    return;
                isKilled = true;
                FaultTests.Kill(cluster, "rank");
            });

            Assert.AreEqual(undisturbed, Fit(ml, data, options), $"{ranks} ranks");

            Assert.IsTrue(isKilled);
            Assert.HasCount(1, recoveries, $"{ranks} ranks: {string.Join('\n', recoveries)}");
            // A step's loss is that of its rows: those since the checkpoint were taken anew, from the state before them.
            CollectionAssert.AreEqual(steps.Select(l => l.Step).ToArray(), told.Select(l => l.Step).Distinct().Order().ToArray(), $"{ranks} ranks");
            foreach (var loss in told)
                Assert.AreEqual(steps[(int)loss.Step - 1].Loss, loss.Loss, $"step {loss.Step} on {ranks} ranks");
        }
    }

    private static DistributedMulticlassTrainer.Options Options(int ranks, int epochs) => new()
    {
        MinRanks = ranks,
        MaxRanks = ranks,
        Seed = 7,
        Epochs = epochs,
        Dropout = 0.1,
        GradientClipNorm = 1,
        Reproducibility = Reproducibility.BitExact,
    };

    private static string Fit(MLContext ml, IDataView data, DistributedMulticlassTrainer.Options options)
    {
        using var onnx = new MemoryStream();
        ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options).Fit(data).Model.SaveOnnx(onnx);
        return Convert.ToHexString(SHA256.HashData(onnx.ToArray()));
    }
}
