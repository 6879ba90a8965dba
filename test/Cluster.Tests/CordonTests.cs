using System.Collections.Concurrent;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;
using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>A Fit whose ranks are killed on one of two workers, again and again.</summary>
[TestClass, DoNotParallelize]
public sealed class CordonTests
{
    [TestMethod, TestCategory("Slow")]
    public async Task Fit_WhoseRanksDieOnOneWorker_GoesOnOnTheOtherAndAnOperatorLetsJobsInAgain()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("Signals are Linux's.");
        await using var cluster = await RealCluster.StartAsync(workers: 2);
        using var connection = cluster.Connect();
        var ml = new MLContext(1);
        ml.UseCluster(connection);
        var heard = new ConcurrentQueue<string>();
        var killed = new List<string>();
        var recoveries = 0;
        ml.Log += (_, e) => heard.Enqueue(e.Message);

        ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            Epochs = 100,
            MinRanks = 2,
            MaxRanks = 2,
            Progress = new Listener(p =>
            {
                if (p.State == TrainingState.Recovering)
                    recoveries = killed.Count;
                // Once an attempt, when it has made steps of its own.
                if (killed.Count >= 2 || recoveries < killed.Count || p.RecentLosses.Count == 0)
                    return;
                var host = heard.Last(m => m.Contains("runs on \"", StringComparison.Ordinal)).Split('"')[1];
                killed.Add(host);
                using var rank = System.Diagnostics.Process.GetProcessById(cluster.RanksOf(host[^1] - '0')[0]);
                rank.Kill();
            }),
        }).Fit(DataSets.Digits(ml));

        var said = string.Join('\n', heard);
        Assert.AreEqual(killed[0], killed[1], said);
        var other = killed[0] == "w0" ? "w1" : "w0";
        StringAssert.Contains(said, $"worker \"{killed[0]}\" gets only jobs that no others could hold: 2 of the 2 attempts on it failed within 10 min");
        StringAssert.Contains(said, $"runs on \"{other}\" with 2 ranks");
        var shown = (await cluster.RunAsync("workers")).Output;
        StringAssert.Contains(shown, $"\"{killed[0]}\" gets only jobs that no others could hold for ");

        var workers = (await cluster.Jobs.GetClusterAsync(new GetClusterRequest())).Workers;
        var bad = workers.Single(w => w.Host == killed[0]);
        Assert.IsNotNull(bad.Cordon);
        var (code, output, error) = await cluster.RunAsync("workers", "uncordon", bad.Id);
        Assert.AreEqual((0, $"\"{killed[0]}\" gets jobs again."), (code, output.Trim()), error);
        (code, output, error) = await cluster.RunAsync("workers", "cordon", bad.Id, "--reason", "its fan is noisy", "--json");
        Assert.AreEqual(0, code, error);
        StringAssert.Contains(output, "\"reason\": \"its fan is noisy\"");
    }
}
