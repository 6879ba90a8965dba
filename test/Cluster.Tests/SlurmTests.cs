using System.Text.RegularExpressions;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

/// <summary>Workers that are tasks of Slurm's jobs, by Slurm's own daemons.</summary>
[TestClass]
public sealed class SlurmTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    public TestContext TestContext { get; set; } = null!;

    [TestMethod, TestCategory("Slow")]
    public async Task Workers_OfACancelledAllocation_StoreWhatTheyTrainAndThoseOfTheNextGoOn()
    {
        if (SlurmCluster.Unavailable() is { } reason)
            Assert.Inconclusive(reason);
        await using var cluster = await RealCluster.StartAsync(workers: 0);
        await using var slurm = await SlurmCluster.StartAsync();
        var allocation = await SubmitAsync(cluster, slurm);
        using var connection = cluster.Connect();
        var ml = new MLContext(1);
        var trainer = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            Epochs = 60,
            MaxRanks = 1,
            BatchSize = 8,
            // None but those that a worker is asked for when it leaves.
            CheckpointInterval = TimeSpan.FromDays(1),
        });
        var job = await connection.SubmitAsync(trainer, DataSets.Digits(ml), TestContext.CancellationToken);
        var heard = new List<TrainingProgress>();
        var trained = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var going = connection.AttachAsync(job.Id, progress: new Listener(p =>
        {
            heard.Add(p);
            if (p.Epoch >= 1)
                trained.TrySetResult();
        }), cancellation: TestContext.CancellationToken);
        await trained.Task.WaitAsync(Limit, TestContext.CancellationToken);

        await slurm.RunAsync("scancel", allocation);
        await SubmitAsync(cluster, slurm);
        try
        {
            await going.WaitAsync(Limit, TestContext.CancellationToken);
        }
        catch (TimeoutException)
        {
            Assert.Fail(string.Join('\n', [await slurm.RunAsync("squeue"), await slurm.RunAsync("sinfo"), .. Directory.GetFiles(cluster.SlurmFolder, "*.out").Select(File.ReadAllText), .. heard.Select(p => p.Message).Distinct()]));
        }

        Assert.AreEqual(TrainingState.Succeeded, heard[^1].State);
        Assert.IsTrue(heard.Any(p => p.Message.Contains("was told to leave", StringComparison.Ordinal) && p.Message.Contains("Attempt 2 follows.", StringComparison.Ordinal)), string.Join('\n', heard.Select(p => p.Message).Distinct()));
        var steps = heard.SelectMany(p => p.RecentLosses).Select(l => l.Step).ToList();
        Assert.AreEqual(1, steps.Count(s => s == 1), "It began anew.");
        Assert.AreEqual(heard[^1].TotalSteps, steps.Distinct().Count(), "Steps are missing.");
    }

    private static async Task<string> SubmitAsync(RealCluster cluster, SlurmCluster slurm)
    {
        using var program = cluster.StartMldist(new Dictionary<string, string> { ["SLURM_CONF"] = slurm.Configuration }, "slurm", "submit", "-N", "2", "--data", cluster.DataFolder);
        Assert.AreEqual(0, await program.Exit(Limit), program.Output);
        return Regex.Match(program.Output, @"^Submitted job (\d+): 2 workers", RegexOptions.None, TimeSpan.FromSeconds(1)).Groups[1].Value;
    }
}
