using System.Collections.Concurrent;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

/// <summary>Jobs on several devices, with the CPU for the devices and stand-ins of NCCL and CUDA's runtime, and all else real: agent, rank processes, signals.</summary>
[TestClass]
public sealed class DeviceTests
{
    // "Names a libcudart", for tests; MLDIST_NCCL is the users' own.
    private const string CudaVariable = "MLDIST_TEST_LIBCUDART";
    private const string NcclVariable = "MLDIST_NCCL";

    [TestMethod]
    public async Task Fit_OnTwoDevices_OneOfWhichIsKilled_ReturnsTheModelOfSharedMemory()
    {
        var library = NcclStandIn.Require();
        await using var cluster = await RealCluster.StartAsync(workers: 0);
        cluster.StartWorker(0);
        var expected = await FitAsync(cluster, _ => { });
        cluster.Workers[0].Signal("KILL");
        await cluster.Workers[0].Exit(TimeSpan.FromSeconds(30));
        cluster.StartWorker(0, new() { [CudaVariable] = library, [NcclVariable] = library });

        var (killed, isNccl) = (0, false);
        var messages = new ConcurrentQueue<string>();
        var actual = await FitAsync(cluster, p =>
        {
            if (p.Epoch < 3 || Interlocked.Exchange(ref killed, 1) != 0)
                return;
            isNccl = cluster.RanksOf(0).All(IsInNccl);
            // Whichever it is: the other waits for it on its device, and is stopped by the agent.
            using var rank = System.Diagnostics.Process.GetProcessById(cluster.RanksOf(0)[0]);
            rank.Kill();
        }, messages);

        Assert.AreEqual(1, killed);
        Assert.IsTrue(isNccl, "The ranks did not meet in NCCL.");
        Assert.IsTrue(messages.Any(m => m.Contains("SIGKILL", StringComparison.Ordinal)), string.Join('\n', messages));
        Assert.AreEqual(expected, actual, 1e-3, "Loss of the last epoch");
        Assert.IsEmpty(Directory.GetFiles("/dev/shm", "mldist-nccl-*"));
    }

    // Each of the two had half of the optimizer's state, of which what is in the agent's memory is the whole.
    [TestMethod]
    public async Task Fit_OnTwoDevices_OneOfWhichIsKilledWhenAThirdIsFree_GoesOnOnThree()
    {
        var library = NcclStandIn.Require();
        await using var cluster = await RealCluster.StartAsync(workers: 0);
        cluster.StartWorker(0, new() { [CudaVariable] = library, [NcclVariable] = library }, slots: 3);
        var ml = new MLContext(1);
        using var connection = cluster.Connect();
        ml.UseCluster(connection);
        var data = DataSets.Digits(ml);
        var guest = await connection.SubmitAsync(ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(Options(epochs: 100_000, min: 1, max: 1)), data);
        using var trains = new SemaphoreSlim(0);
        var messages = new ConcurrentQueue<string>();
        ml.Log += (_, e) => messages.Enqueue(e.Message);
        var options = Options(epochs: 300, min: 2, max: 3);
        options.Progress = new Listener(p =>
        {
            if (p.Epoch >= 3)
                trains.Release();
        });
        var fit = Task.Run(() => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options).Fit(data).Model.Summary);

        Assert.IsTrue(await trains.WaitAsync(TimeSpan.FromSeconds(60)), "It does not train.");
        await guest.CancelAsync(); // returns when its rank is stopped
        var ranks = cluster.RanksOf(0).Where(IsInNccl).ToList();
        Assert.HasCount(2, ranks, "The job has other ranks than two.");
        using (var rank = System.Diagnostics.Process.GetProcessById(ranks[0]))
            rank.Kill();
        var summary = await fit;

        Assert.AreEqual((3, 300), (summary.WorldSize, summary.Epochs));
        Assert.IsTrue(messages.Any(m => m.Contains("SIGKILL", StringComparison.Ordinal)), string.Join('\n', messages));
        Assert.IsLessThan(0.02, summary.TrainingLoss, "It did not go on with what had been learnt.");
        Assert.IsEmpty(Directory.GetFiles("/dev/shm", "mldist-nccl-*"));

        static DistributedMulticlassTrainer.Options Options(int epochs, int min, int max) =>
            new() { Seed = 3, Epochs = epochs, MinRanks = min, MaxRanks = max, OnDisconnect = DisconnectBehavior.Finish };
    }

    // What the stand-in's ranks meet in.
    private static bool IsInNccl(int rank) => File.ReadAllText($"/proc/{rank}/maps").Contains("/dev/shm/mldist-nccl-", StringComparison.Ordinal);

    private static async Task<double> FitAsync(RealCluster cluster, Action<TrainingProgress> onProgress, ConcurrentQueue<string>? messages = null)
    {
        var ml = new MLContext(1);
        ml.Log += (_, e) => messages?.Enqueue(e.Message);
        using var connection = cluster.Connect();
        ml.UseCluster(connection);
        var trainer = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            Seed = 3,
            MinRanks = 2,
            MaxRanks = 2,
            Epochs = 30,
            // A busy machine may keep this app from its coordinator for longer than such a cluster has patience.
            OnDisconnect = DisconnectBehavior.Finish,
            Progress = new Listener(onProgress),
        });
        return await Task.Run(() => trainer.Fit(DataSets.Digits(ml)).Model.Summary.TrainingLoss);
    }

    private sealed class Listener(Action<TrainingProgress> listen) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => listen(value);
    }
}
