using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using Microsoft.ML.Runtime;
using MLDistributed.Bench;

namespace Cluster.Tests;

/// <summary>Processes die while a job trains.</summary>
[TestClass]
public sealed class FaultTests
{
    // What both that follow are compared with.
    private static readonly Lazy<(string Model, List<StepLoss> Losses)> s_undisturbed = new(() =>
    {
        var losses = new List<StepLoss>();
        return (Train(onFirstEpoch: null, out _, losses), losses);
    });

    [TestMethod]
    public void Fit_WhenARankIsKilled_RecoversAndReturnsTheSameModel()
    {
        var (undisturbed, curve) = s_undisturbed.Value;
        var told = new List<StepLoss>();
        var disturbed = Train(onFirstEpoch: cluster => Kill(cluster, "rank"), out var messages, told);

        Assert.IsTrue(messages.Any(m => m.Contains("SIGKILL", StringComparison.Ordinal)), string.Join('\n', messages));
        Assert.AreEqual(undisturbed, disturbed, "On as many ranks as before it is the same model, bit for bit.");
        // Steps since the checkpoint were told twice; none is missing, and the repeated ones are the same.
        CollectionAssert.AreEqual(curve.Select(l => l.Step).ToArray(), told.Select(l => l.Step).Distinct().Order().ToArray());
        foreach (var loss in told)
            Assert.AreEqual(curve[(int)loss.Step - 1].Loss, loss.Loss, 1e-4 * Math.Abs(loss.Loss), $"step {loss.Step}");
    }

    [TestMethod, TestCategory("Slow")]
    public void Fit_WhenRanksAreKilledMoreOftenThanMaxAttempts_GoesOnFromMemoryToTheSameModel()
    {
        const int kills = 3;
        var undisturbed = Fit((_, _) => { }, out _);
        var told = new List<long>();
        var (started, killed, recovered) = (0L, 0, 0);

        var disturbed = Fit((cluster, p) =>
        {
            if (p.State == TrainingState.Recovering)
                (started, recovered) = (0, killed);
            told.AddRange(p.RecentLosses.Select(l => l.Step));
            if (started == 0 && p.RecentLosses.Count > 0)
                started = Stopwatch.GetTimestamp();

            // Long enough for a commit, which comes half a second after the first step.
            if (killed == recovered && killed < kills && started != 0 && Stopwatch.GetElapsedTime(started) > TimeSpan.FromSeconds(1))
            {
                killed++;
                Kill(cluster, "rank");
            }
        }, out var messages);

        Assert.AreEqual(undisturbed, disturbed, "It is the same model, bit for bit.");
        Assert.AreEqual((kills, kills), (killed, messages.Count(m => m.Contains("which it has in memory", StringComparison.Ordinal))), string.Join('\n', messages));
        Assert.IsTrue(messages.Any(m => m.Contains($"Attempt {kills + 1} follows.", StringComparison.Ordinal)), "Each gets on, so that none is counted with the ones before.");
        CollectionAssert.AreEqual(Enumerable.Range(1, (int)told.Max()).Select(s => (long)s).ToArray(), told.Distinct().Order().ToArray(), "No step is missing.");

        static string Fit(Action<TrainingCluster, TrainingProgress> onProgress, out ConcurrentQueue<string> messages)
        {
            using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 2 });
            var ml = new MLContext(1);
            ml.UseCluster(cluster);
            var heard = messages = [];
            ml.Log += (_, e) => Hear(heard, e);
            var trainer = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
            {
                Seed = 3,
                MinRanks = 2,
                MaxRanks = 2,
                Epochs = 120,
                MaxAttempts = 2,
                // No checkpoint comes before the end: memory alone has the state.
                CheckpointIntervalEpochs = 120,
                CheckpointInterval = TimeSpan.Zero,
                Progress = new Listener(p => onProgress(cluster, p)),
            });
            try
            {
                using var onnx = new MemoryStream();
                trainer.Fit(DataSets.Digits(ml)).Model.SaveOnnx(onnx);
                return Convert.ToHexString(SHA256.HashData(onnx.ToArray()));
            }
            catch (TrainingFailedException e)
            {
                throw new AssertFailedException(string.Join('\n', heard.Where(m => !m.Contains(": step ", StringComparison.Ordinal))), e);
            }
        }
    }

    [TestMethod]
    public void Fit_WhenTheCoordinatorIsKilled_TrainsOnInTheSameAttempt()
    {
        var (undisturbed, curve) = s_undisturbed.Value;
        var told = new List<StepLoss>();
        var disturbed = Train(onFirstEpoch: cluster => Kill(cluster, "coordinator"), out var messages, told);

        Assert.AreEqual(undisturbed, disturbed, "It is the same model, bit for bit.");
        Assert.IsTrue(messages.Any(m => m.Contains("coordinator ended with exit code 137", StringComparison.Ordinal)), string.Join('\n', messages));
        Assert.IsFalse(messages.Any(m => m.Contains("Attempt 2", StringComparison.Ordinal)), string.Join('\n', messages));
        Assert.AreEqual(curve[^1].Step, told[^1].Step);
        CollectionAssert.AllItemsAreUnique(told.Select(l => l.Step).ToArray(), "No step is trained twice.");
        foreach (var loss in told)
            Assert.AreEqual(curve[(int)loss.Step - 1].Loss, loss.Loss, $"step {loss.Step}");
    }

    [TestMethod]
    public void Fit_Cancelled_ThrowsWithinTwoSecondsAndTheClusterStaysUsable()
    {
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 2 });
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        var data = DataSets.Digits(ml);
        using var cancellation = new CancellationTokenSource();
        var cancelled = 0L;

        Assert.Throws<OperationCanceledException>(() => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            Epochs = 100_000,
            CancellationToken = cancellation.Token,
            Progress = new Listener(p =>
            {
                if (p.Epoch >= 2 && !cancellation.IsCancellationRequested)
                {
                    cancelled = Stopwatch.GetTimestamp();
                    cancellation.Cancel();
                }
            }),
        }).Fit(data));

        // The promise of the documentation, not a measurement: two seconds.
        Assert.IsLessThan(2.5, Stopwatch.GetElapsedTime(cancelled).TotalSeconds);
        ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(epochs: 1).Fit(data);
    }

    // Without ML.NET's own, which would hide the others where a test fails.
    private static void Hear(ConcurrentQueue<string> heard, LoggingEventArgs e)
    {
        if (e.Kind != ChannelMessageKind.Trace)
            heard.Enqueue(e.Message);
    }

    // The hash of the model.
    private static string Train(Action<TrainingCluster>? onFirstEpoch, out ConcurrentQueue<string> messages, List<StepLoss>? losses = null)
    {
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 2 });
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        var heard = messages = [];
        ml.Log += (_, e) => Hear(heard, e);
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);
        var act = onFirstEpoch;
        var model = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            Seed = 3,
            MinRanks = 2,
            MaxRanks = 2,
            Epochs = 60,
            // Within epochs, since those are too short for a checkpoint at the end of each.
            CheckpointInterval = TimeSpan.FromMilliseconds(20),
            Progress = new Listener(p =>
            {
                losses?.AddRange(p.RecentLosses);
                if (p.Epoch >= 2)
                    Interlocked.Exchange(ref act, null)?.Invoke(cluster);
            }),
        }).Fit(split.TrainSet);
        using var onnx = new MemoryStream();
        model.Model.SaveOnnx(onnx);
        return Convert.ToHexString(SHA256.HashData(onnx.ToArray()));
    }

    /// <summary>Kills a process of this cluster, which other tests' clusters have too.</summary>
    internal static void Kill(TrainingCluster cluster, string role)
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("Looks at /proc, which only Linux has.");
        var (id, _) = ProcessTree.Naming(cluster.Local!.RunFolder)
            .First(p => p.CommandLine.Contains($"mldist {role}", StringComparison.Ordinal) || p.CommandLine.Contains($"mldist.dll {role}", StringComparison.Ordinal));
        using var process = Process.GetProcessById(id);
        process.Kill();
    }
}
