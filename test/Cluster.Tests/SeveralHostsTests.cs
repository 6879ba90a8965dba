using System.Diagnostics;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;
using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>One Fit over two hosts that only a network joins, undisturbed and disturbed.</summary>
[TestClass, DoNotParallelize]
public sealed class SeveralHostsTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    // The heartbeat that workers are given here and 3 s, twice for a busy machine. MPI's own limit, by which ranks would end
    // that nobody told, is 60 s.
    private static readonly TimeSpan EndOfAttempt = 2 * TimeSpan.FromSeconds(2 + 3);
    private static SeveralHosts? s_hosts;

    private static Done? s_alone;

    // Of 8 steps.
    private const int Epochs = 40;

    [ClassInitialize]
    public static async Task Start(TestContext _)
    {
        if (NetworkHosts.Unavailable() is { } reason)
            Assert.Inconclusive(reason);
        s_hosts = await SeveralHosts.StartAsync();
        s_alone = await new Run(RankPlacement.OneWorker, ranks: 1, most: 1).FitAsync();
    }

    // What ran where a test before disturbed it has ended, and all slots are free again.
    [TestInitialize]
    public async Task Ready() => await s_hosts!.ReadyAsync();

    [ClassCleanup]
    public static async Task Stop()
    {
        if (s_hosts is not null)
            await s_hosts.DisposeAsync();
    }

    [TestMethod]
    public async Task Fit_OverTwoHosts_HasTheLossesOfOne()
    {
        var spread = await new Run(RankPlacement.Spread, ranks: 4, most: 4).FitAsync();

        spread.ShouldBe(s_alone!, attempts: 1, ranks: 4);
        StringAssert.Contains(await s_hosts!.RunAsync("workers", "--json"), $"\"address\": \"{NetworkHosts.Address(0)}\"");
        StringAssert.EndsWith(spread.Job.Reason, "on 4 ranks of 2 workers");
        Assert.IsTrue(spread.Messages.Any(m => m.Contains("running on 4 ranks: runs on \"h", StringComparison.Ordinal) && m.Contains("with 2 ranks and \"h", StringComparison.Ordinal)), string.Join('\n', spread.Messages));
    }

    [TestMethod]
    public async Task Fit_BitExactOverTwoHosts_IsTheModelOfOneRank()
    {
        var alone = await new Run(RankPlacement.OneWorker, ranks: 1, most: 1, Reproducibility.BitExact, epochs: 4).FitAsync();
        var spread = await new Run(RankPlacement.Pack, ranks: 3, most: 3, Reproducibility.BitExact, epochs: 4).FitAsync();

        StringAssert.EndsWith(spread.Job.Reason, "on 3 ranks of 2 workers");
        CollectionAssert.AreEqual(alone.Losses.OrderBy(l => l.Key).ToArray(), spread.Losses.OrderBy(l => l.Key).ToArray());
        Assert.AreEqual(alone.Job.Result.Artifacts[ArtifactName.Onnx].Id, spread.Job.Result.Artifacts[ArtifactName.Onnx].Id, "The files' SHA-256.");
    }

    [TestMethod]
    public async Task Kill_OfARankOnEachHost_EndsTheAttemptOnBothAndTheJobGoesOn()
    {
        var run = new Run(RankPlacement.Pack, ranks: 4, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);
        var hosts = await run.HostsAsync();
        StringAssert.Contains(await s_hosts!.RunAsync("jobs", "show", run.JobId), $"0 to 1 on \"h{hosts[0]}\", 2 to 3 on \"h{hosts[1]}\"");

        s_hosts.KillRank(hosts[1], slot: 1);
        await run.RecoversWithinAsync(EndOfAttempt, $"Rank 3 on \"h{hosts[1]}\" was killed by signal 9 (SIGKILL)");
        await run.TrainsAsync(attempt: 2);
        hosts = await run.HostsAsync();
        s_hosts.KillRank(hosts[0], slot: 0);
        await run.RecoversWithinAsync(EndOfAttempt, $"Rank 0 on \"h{hosts[0]}\" was killed by signal 9 (SIGKILL)");

        var done = await fit;
        done.ShouldBe(s_alone!, attempts: 3, ranks: 4);
    }

    [TestMethod]
    public async Task Kill_OfAnAgent_EndsTheAttemptAndTheJobGoesOnOnWhatIsLeft()
    {
        var run = new Run(RankPlacement.Pack, ranks: 1, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);

        s_hosts!.KillWorker(1);
        await run.RecoversWithinAsync(EndOfAttempt, "worker \"h1\" was silent", StringComparison.OrdinalIgnoreCase);

        var done = await fit;
        await s_hosts.StartWorkerAsync(1);
        done.ShouldBe(s_alone!, attempts: 2, ranks: 2);
    }

    [TestMethod]
    public async Task Cut_OfALink_EndsTheAttemptAndTheJobGoesOnOnWhatIsLeft()
    {
        var run = new Run(RankPlacement.Pack, ranks: 1, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);

        s_hosts!.SetLink(1, isUp: false);
        try
        {
            await run.RecoversWithinAsync(EndOfAttempt, "worker \"h1\" was silent", StringComparison.OrdinalIgnoreCase);
            var done = await fit;
            done.ShouldBe(s_alone!, attempts: 2, ranks: 2);
        }
        finally
        {
            s_hosts.SetLink(1, isUp: true);
        }
    }

    /// <summary>A Fit, and what an app hears of it.</summary>
    private sealed class Run(RankPlacement placement, int ranks, int most, Reproducibility reproducibility = Reproducibility.UpToRounding, int epochs = Epochs)
    {
        private readonly Lock _gate = new();
        private readonly List<(Func<TrainingProgress, bool> Holds, TaskCompletionSource Seen)> _waits = [];
        private readonly List<string> _messages = [];
        private readonly Dictionary<long, double> _losses = [];
        private TrainingProgress? _last;
        private int _recoveries;

        public string JobId => _last!.JobId;

        public Task<Done> FitAsync() => Task.Run(async () =>
        {
            using var cluster = TrainingCluster.Connect(s_hosts!.Address);
            var ml = new MLContext(1);
            ml.UseCluster(cluster);
            ml.Log += (_, e) => Hear(e.Message);
            ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
            {
                Seed = 3,
                HiddenLayers = [64],
                BatchSize = 256,
                LearningRate = 0.002,
                ValidationFraction = 0,
                Placement = placement,
                MinRanks = ranks,
                MaxRanks = most,
                Epochs = epochs,
                Reproducibility = reproducibility,
                CheckpointInterval = TimeSpan.FromMilliseconds(300),
                Progress = new Listener(Hear),
            }).Fit(DataSets.Digits(ml));
            return new Done(await s_hosts!.Jobs.GetJobAsync(new GetJobRequest { JobId = JobId }), _messages, _losses);
        });

        /// <summary>Waits for the first steps of an attempt.</summary>
        public Task TrainsAsync(int attempt) => UntilAsync(p => _recoveries == attempt - 1 && p.RecentLosses.Count > 0);

        /// <summary>The hosts of the attempt that runs, in the order of the ranks.</summary>
        public async Task<int[]> HostsAsync() =>
            [.. (await s_hosts!.Jobs.GetJobAsync(new GetJobRequest { JobId = JobId })).Hosts.Select(h => int.Parse(h.Host[1..], System.Globalization.CultureInfo.InvariantCulture))];

        public async Task RecoversWithinAsync(TimeSpan limit, string reason, StringComparison comparison = StringComparison.Ordinal)
        {
            var (killed, before) = (Stopwatch.GetTimestamp(), _recoveries);
            await UntilAsync(_ => _recoveries > before);
            Assert.IsLessThan(limit, Stopwatch.GetElapsedTime(killed));
            lock (_gate)
                Assert.IsTrue(_messages.Any(m => m.Contains(reason, comparison)), string.Join('\n', _messages));
        }

        private async Task UntilAsync(Func<TrainingProgress, bool> holds)
        {
            var seen = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            lock (_gate)
            {
                if (_last is not null && holds(_last))
                    return;
                _waits.Add((holds, seen));
            }

            await seen.Task.WaitAsync(Limit);
        }

        private void Hear(string message)
        {
            lock (_gate)
                _messages.Add(message);
        }

        private void Hear(TrainingProgress progress)
        {
            lock (_gate)
            {
                if (progress.State == TrainingState.Recovering && _last?.State != TrainingState.Recovering)
                    _recoveries++;
                _last = progress;
                foreach (var loss in progress.RecentLosses)
                    _losses[loss.Step] = loss.Loss;
                foreach (var (_, seen) in _waits.Where(w => w.Holds(progress)))
                    seen.TrySetResult();
            }
        }
    }

    private sealed record Done(JobSnapshot Job, List<string> Messages, Dictionary<long, double> Losses)
    {
        /// <summary>The same model: every step was told, whatever happened in between, with the loss that it has on one rank.</summary>
        public void ShouldBe(Done alone, int attempts, int ranks)
        {
            Assert.AreEqual((attempts, ranks, Epochs), (Job.Attempt, Job.Result.WorldSize, Job.Result.Epochs), string.Join('\n', Messages));
            CollectionAssert.AreEqual(alone.Losses.Keys.Order().ToArray(), Losses.Keys.Order().ToArray(), string.Join('\n', Messages));
            foreach (var (step, loss) in alone.Losses)
                Assert.AreEqual(loss, Losses[step], 1e-4 * Math.Max(1, loss), $"step {step}");
            Assert.AreEqual(alone.Job.Result.TrainingLoss, Job.Result.TrainingLoss, 1e-4);
        }
    }
}
