using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;
using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>Workers, ranks and apps that are killed or silent while a job trains, all as processes of their own.</summary>
[TestClass]
public sealed class ServiceFaultTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [TestMethod, TestCategory("Slow")]
    public async Task Fit_WhenAWorkerIsKilled_GoesOnOnAnother()
    {
        OnLinuxOnly();
        await using var cluster = await RealCluster.StartAsync(workers: 2);

        var heard = Train(cluster, epochs: 100, onSecondEpoch: host => cluster.Workers[Index(host)].Signal("KILL"));

        StringAssert.Matches(heard, new(@"Worker ""w[01]"" was silent for [0-9.]+ s, expected a sign of life within 2 s\. Attempt 2 follows", default, Limit));
        CollectionAssert.AreEquivalent(new[] { 0, 2 }, new[] { cluster.RanksOf(0).Count, cluster.RanksOf(1).Count }, "The killed worker's ranks must leave with it.");
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Fit_WhenItsWorkerIsSilentForAWhile_RunsOnceMoreThere()
    {
        OnLinuxOnly();
        await using var cluster = await RealCluster.StartAsync(workers: 1);
        Task? woken = null;

        var heard = Train(cluster, epochs: 100, onSecondEpoch: _ =>
        {
            cluster.Workers[0].Signal("STOP");
            woken = WakeWhenLostAsync(cluster);
        });

        await woken!;
        StringAssert.Contains(heard, "Worker \"w0\" was silent for ");
        StringAssert.Contains(heard, "Attempt 2 follows");
        Assert.HasCount(2, cluster.RanksOf(0));
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Fit_WhenTheCoordinatorIsStoppedForLongerThanItAllowsOthers_LosesNoAttempt()
    {
        OnLinuxOnly();
        await using var cluster = await RealCluster.StartAsync(workers: 2, heartbeatSeconds: 4); // that a busy machine's agents keep
        Task? woken = null;

        var heard = Train(cluster, epochs: 200, onSecondEpoch: _ =>
        {
            cluster.Coordinator.Signal("STOP");
            woken = WakeLaterAsync(cluster.Coordinator, TimeSpan.FromSeconds(10)); // the pause itself, of more than two heartbeat timeouts
        });

        await woken!;
        Assert.DoesNotContain("Attempt 2", heard);
        Assert.DoesNotContain("is lost", cluster.Coordinator.Output);
        Assert.HasCount(2, (await cluster.Jobs.GetClusterAsync(new GetClusterRequest())).Workers.Where(w => w.Status == "ready"));
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Fit_WhoseStoredDataIsDamaged_SendsItAgain()
    {
        await using var cluster = await RealCluster.StartAsync(workers: 1);
        Train(cluster, epochs: 1, _ => { });
        var file = Directory.GetFiles(Path.Combine(cluster.DataFolder, "datasets"), "*.arrow").Single();
        var good = await File.ReadAllBytesAsync(file);
        var bad = good.ToArray();
        bad[bad.Length / 2] ^= 1;
        await File.WriteAllBytesAsync(file, bad);

        Train(cluster, epochs: 1, _ => { });

        CollectionAssert.AreEqual(good, await File.ReadAllBytesAsync(file));
        StringAssert.Contains(cluster.Coordinator.Output, $"Dataset {Path.GetFileNameWithoutExtension(file)} is damaged");
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Fit_WhenARankIsStopped_NoticesAndRecovers()
    {
        OnLinuxOnly();
        await using var cluster = await RealCluster.StartAsync(workers: 1);

        var heard = Train(cluster, epochs: 100, onSecondEpoch: _ => Signal(cluster.RanksOf(0)[0], "STOP"));

        StringAssert.Contains(heard, "on \"w0\" did not answer for 10 s and was killed");
        StringAssert.Contains(heard, "Attempt 2 follows");
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Job_WhoseNewestCheckpointIsDamaged_GoesOnFromTheOneBefore()
    {
        OnLinuxOnly();
        await using var cluster = await RealCluster.StartAsync(workers: 1);
        using var app = cluster.StartApp("cancel", epochs: 1_000_000);
        Assert.IsTrue(await ProcessTree.Until(() => cluster.Blobs.Count == 2, Limit), app.Output);

        // The next checkpoint begins two seconds after the one that has just been stored: none is on its way.
        var ranks = cluster.RanksOf(0);
        foreach (var rank in ranks)
            Signal(rank, "STOP");
        FlipLastByte(cluster.Blobs[^1].FullName);
        // With its agent, whose memory has a newer state.
        cluster.Workers[0].Signal("KILL");
        foreach (var rank in ranks)
            Signal(rank, "KILL");
        await cluster.Workers[0].Exit(Limit);
        cluster.StartWorker(0);

        using var limit = new CancellationTokenSource(Limit);
        var job = (await cluster.Jobs.ListJobsAsync(new ListJobsRequest(), cancellationToken: limit.Token)).Jobs.Single();
        using var watch = cluster.Jobs.WatchJob(new WatchJobRequest { JobId = job.Id }, cancellationToken: limit.Token);
        var heard = new List<string>();
        var first = 0L;
        while (first == 0 && await watch.ResponseStream.MoveNext(limit.Token))
        {
            var e = watch.ResponseStream.Current;
            heard.Add(e.State?.Reason ?? e.Log?.Message ?? "");
            first = e.Attempt == 3 ? e.Progress?.Recent.FirstOrDefault()?.Step ?? 0 : 0;
        }

        var words = heard.Select(h => Regex.Match(h, @"^The checkpoint of step (\d+) is damaged\. Training goes on from the checkpoint of step (\d+)\.$", default, Limit)).Single(m => m.Success);
        var (damaged, before) = (long.Parse(words.Groups[1].Value, CultureInfo.InvariantCulture), long.Parse(words.Groups[2].Value, CultureInfo.InvariantCulture));
        Assert.IsLessThan(damaged, before);
        Assert.AreEqual(before + 1, first, "The third attempt goes on with the step after the checkpoint before.");
    }

    [TestMethod, TestCategory("Slow")]
    public async Task App_Killed_ItsJobIsCancelledAfterTheGrace()
    {
        await using var cluster = await RealCluster.StartAsync(workers: 1, "--disconnect-grace", "2");
        using var app = cluster.StartApp("cancel", epochs: 100_000);
        await app.Line("epoch 2", Limit);

        app.Signal("KILL");

        var job = await cluster.EndOfJobAsync();
        Assert.AreEqual(JobState.Cancelled, job.State, job.Reason);
        StringAssert.Contains(job.Reason, "its submitter was gone for 2 s");
    }

    [TestMethod, TestCategory("Slow")]
    public async Task App_Killed_ItsDetachedJobFinishes()
    {
        await using var cluster = await RealCluster.StartAsync(workers: 1, "--disconnect-grace", "2");
        using var app = cluster.StartApp("finish", epochs: 100);
        await app.Line("epoch 2", Limit);

        app.Signal("KILL");

        var job = await cluster.EndOfJobAsync();
        Assert.AreEqual(JobState.Succeeded, job.State, job.Reason);
        Assert.IsTrue(job.Result.Artifacts.ContainsKey(ArtifactName.Onnx));
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Fit_WhereRanksCannotLoadLibtorch_FailsWithTheReason()
    {
        OnLinuxOnly();
        using var runtime = await BrokenRuntime.CreateAsync();
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 1, Device = LocalDevice.Cpu, RuntimePath = runtime.Folder });
        var ml = new MLContext(1);
        ml.UseCluster(cluster);

        var fit = Task.Run(() => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(epochs: 1).Fit(DataSets.Digits(ml)));

        var error = await Assert.ThrowsExactlyAsync<TrainingFailedException>(() => fit.WaitAsync(Limit));
        StringAssert.Contains(error.Message, "The rank process cannot start");
        StringAssert.Contains(error.Message, "libtorch");
    }

    /// <summary>Fits on a cluster and returns what the app heard.</summary>
    private static string Train(RealCluster cluster, int epochs, Action<string> onSecondEpoch)
    {
        using var connection = cluster.Connect();
        var ml = new MLContext(1);
        ml.UseCluster(connection);
        var heard = new ConcurrentQueue<string>();
        ml.Log += (_, e) => heard.Enqueue(e.Message);
        var act = onSecondEpoch;
        ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            Epochs = epochs,
            MinRanks = 2,
            MaxRanks = 2,
            Progress = new Listener(p =>
            {
                if (p.Epoch >= 2)
                    Interlocked.Exchange(ref act, null)?.Invoke(heard.Last(m => m.Contains("runs on \"", StringComparison.Ordinal)).Split('"')[1]);
            }),
        }).Fit(DataSets.Digits(ml));
        return string.Join('\n', heard);
    }

    private static async Task WakeLaterAsync(RunningProgram stopped, TimeSpan pause)
    {
        await Task.Delay(pause);
        stopped.Signal("CONT");
    }

    private static async Task WakeWhenLostAsync(RealCluster cluster)
    {
        await cluster.Coordinator.Line("Worker \"w0\" is lost", Limit);
        cluster.Workers[0].Signal("CONT");
    }

    private static int Index(string host) => host[^1] - '0';

    private static void Signal(int process, string name)
    {
        using var kill = Process.Start("/bin/kill", [$"-{name}", $"{process}"]);
        kill.WaitForExit(TimeSpan.FromSeconds(10));
    }

    private static void FlipLastByte(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite);
        file.Position = file.Length - 1;
        var value = file.ReadByte();
        file.Position--;
        file.WriteByte((byte)(value ^ 1));
    }

    private static void OnLinuxOnly()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("Looks at /proc, which only Linux has.");
    }

    private sealed class Listener(Action<TrainingProgress> hear) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => hear(value);
    }

    /// <summary>The built runtime with a libtorch that is none.</summary>
    private sealed class BrokenRuntime : IDisposable
    {
        public required string Folder { get; init; }

        public static async Task<BrokenRuntime> CreateAsync()
        {
            var built = Path.GetDirectoryName(RunningProgram.PathOf("MLDistributed.Cli", "mldist"))!;
            // Beside the built one, whose files it links to: libtorch is large.
            var folder = Path.Combine(Path.GetDirectoryName(built)!, "broken-" + Guid.NewGuid().ToString("N"));
            using (var copy = Process.Start("cp", ["-al", built, folder]))
                await copy.WaitForExitAsync();
            var library = Path.Combine(folder, "libtorch_cpu.so");
            File.Delete(library);
            await File.WriteAllTextAsync(library, "not a library");
            return new BrokenRuntime { Folder = folder };
        }

        public void Dispose() => Directory.Delete(Folder, recursive: true);
    }
}
