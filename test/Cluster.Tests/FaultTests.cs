using System.Diagnostics;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

/// <summary>Processes die while a job trains.</summary>
[TestClass]
public sealed class FaultTests
{
    [TestMethod]
    public void Fit_WhenARankIsKilled_RecoversAndReturnsTheSameModel()
    {
        var undisturbed = Train(onFirstEpoch: null, out _);
        var disturbed = Train(onFirstEpoch: () => Kill("rank"), out var messages);

        Assert.IsTrue(messages.Any(m => m.Contains("SIGKILL", StringComparison.Ordinal)), string.Join('\n', messages));
        var differing = undisturbed.Zip(disturbed).Count(pair => pair.First != pair.Second);
        Assert.IsLessThanOrEqualTo(2, differing);
    }

    [TestMethod]
    public void Fit_WhenTheCoordinatorIsKilled_RecoversAndReturnsTheSameModel()
    {
        var undisturbed = Train(onFirstEpoch: null, out _);
        var disturbed = Train(onFirstEpoch: () => Kill("coordinator"), out _);

        var differing = undisturbed.Zip(disturbed).Count(pair => pair.First != pair.Second);
        Assert.IsLessThanOrEqualTo(2, differing);
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

    private static uint[] Train(Action? onFirstEpoch, out List<string> messages)
    {
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 2 });
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        var heard = messages = [];
        ml.Log += (_, e) => heard.Add(e.Message);
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);
        var act = onFirstEpoch;
        var model = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            Seed = 3,
            MinRanks = 2,
            MaxRanks = 2,
            Epochs = 60,
            Progress = new Listener(p =>
            {
                if (p.Epoch >= 2)
                    Interlocked.Exchange(ref act, null)?.Invoke();
            }),
        }).Fit(split.TrainSet);
        return model.Transform(split.TestSet).GetColumn<uint>("PredictedLabel").ToArray();
    }

    internal static void Kill(string role)
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("Looks at /proc, which only Linux has.");
        var ours = Descendants(Environment.ProcessId).ToHashSet();
        var (id, _) = ProcessTree.Naming($"mldist {role}").Concat(ProcessTree.Naming($"mldist.dll {role}")).First(p => ours.Contains(p.Id));
        using var process = Process.GetProcessById(id);
        process.Kill();
    }

    private static IEnumerable<int> Descendants(int parent) => Directory.EnumerateDirectories("/proc")
        .Select(f => int.TryParse(Path.GetFileName(f), out var id) ? id : 0)
        .Where(id => id > 0 && ParentOf(id) == parent)
        .SelectMany(id => Descendants(id).Prepend(id));

    private static int ParentOf(int id)
    {
        try
        {
            // pid (comm) state ppid: the name may hold spaces, so count from its closing bracket.
            var stat = File.ReadAllText($"/proc/{id}/stat");
            return int.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
    }
}
