using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

/// <summary>What cannot work ends with a sentence, and the cluster serves the next job.</summary>
[TestClass]
public sealed class BadInputTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [TestMethod]
    public void Fit_WhoseLossBecomesNaN_NamesStepRankAndLearningRate()
    {
        var ml = SharedCluster.NewContext();
        var losses = new List<StepLoss>();
        var trainer = ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options
        {
            Epochs = 50,
            LearningRate = 1e30,
            Optimizer = new SgdOptimizer(),
            Schedule = LearningRateSchedule.Constant,
            Progress = new Listener(p => losses.AddRange(p.RecentLosses)),
        });

        var e = Assert.ThrowsExactly<TrainingFailedException>(() => trainer.Fit(DataSets.Diabetes(ml)));

        StringAssert.Contains(e.Message, $"at step {e.Step} of ");
        StringAssert.Contains(e.Message, $"on rank {e.Rank} with learning rate 1E+30, expected a finite number.");
        CollectionAssert.AreEqual(Enumerable.Range(1, (int)e.Step - 1).Select(i => (long)i).ToArray(), losses.Select(l => l.Step).ToArray());
        ml.Regression.Trainers.DistributedNeuralNetwork(epochs: 1).Fit(DataSets.Diabetes(ml));
    }

    [TestMethod]
    public void Fit_MoreRanksThanTheLocalClusterHas_IsRefused()
    {
        var ml = SharedCluster.NewContext();
        var trainer = ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { MinRanks = 5 });

        var e = Assert.ThrowsExactly<ArgumentException>(() => trainer.Fit(DataSets.Diabetes(ml)));

        StringAssert.Contains(e.Message, "MinRanks is 5, expected at most 4: the local cluster has 4 CPU slots.");
    }

    [TestMethod]
    public void Fit_OnManyThreads_TrainsAll()
    {
        var models = new ITransformer[6];

        Parallel.For(0, models.Length, new ParallelOptions { MaxDegreeOfParallelism = models.Length }, i =>
        {
            var ml = SharedCluster.NewContext(seed: i);
            models[i] = ml.Regression.Trainers.DistributedNeuralNetwork(epochs: 2).Fit(DataSets.Diabetes(ml));
        });

        CollectionAssert.AllItemsAreNotNull(models);
    }

    [TestMethod]
    public void Fit_OnTheThreadOfASynchronizationContext_DoesNotWaitForItself()
    {
        var ml = SharedCluster.NewContext();
        ITransformer? model = null;
        var user = new Thread(() =>
        {
            // As a window's thread: what is posted to it runs when Fit is over, which must not wait for that.
            SynchronizationContext.SetSynchronizationContext(new Postponing());
            model = ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { Epochs = 2, Progress = new Progress<TrainingProgress>() }).Fit(DataSets.Diabetes(ml));
        })
        { IsBackground = true };

        user.Start();

        Assert.IsTrue(user.Join(Limit), "Fit hangs.");
        Assert.IsNotNull(model);
    }

    private sealed class Postponing : SynchronizationContext
    {
        public override void Post(SendOrPostCallback d, object? state)
        {
            // Never: the thread is busy.
        }
    }
}
