using System.Diagnostics;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;
using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>A Fit over several hosts, and what an app hears of it.</summary>
internal sealed class SpreadRun(SeveralHosts hosts, RankPlacement placement, int ranks, int most, Reproducibility reproducibility = Reproducibility.UpToRounding, int epochs = SpreadRun.Epochs, int checkpointEpochs = 1)
{
    /// <summary>Of 8 steps.</summary>
    public const int Epochs = 40;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly Lock _gate = new();
    private readonly List<(Func<TrainingProgress, bool> Holds, TaskCompletionSource Seen)> _waits = [];
    private readonly List<string> _messages = [];
    private readonly Dictionary<long, double> _losses = [];
    private TrainingProgress? _last;
    private int _recoveries;
    private (long Time, long Step)? _begun;

    public string JobId => _last!.JobId;

    /// <summary>The steps in workers' memory from which attempts have gone on, in their order.</summary>
    public long[] GoneOnFrom =>
        [.. Messages.Select(m => m.Split("goes on from step ")).Where(p => p.Length > 1).Select(p => long.Parse(p[1].Split(',')[0], System.Globalization.CultureInfo.InvariantCulture))];

    /// <summary>The first step that the last attempt has told.</summary>
    public long FirstStep
    {
        get
        {
            lock (_gate)
                return _begun!.Value.Step;
        }
    }

    /// <summary>What the app has heard until now.</summary>
    public IReadOnlyList<string> Messages
    {
        get
        {
            lock (_gate)
                return [.. _messages];
        }
    }

    public Task<SpreadRunEnd> FitAsync() => Task.Run(async () =>
    {
        using var cluster = TrainingCluster.Connect(hosts.Address);
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
            CheckpointInterval = checkpointEpochs == 1 ? TimeSpan.FromMilliseconds(300) : TimeSpan.Zero,
            CheckpointIntervalEpochs = checkpointEpochs,
            Progress = new Listener(Hear),
        }).Fit(DataSets.Digits(ml));
        return new SpreadRunEnd(await hosts.Jobs.GetJobAsync(new GetJobRequest { JobId = JobId }), _messages, _losses);
    });

    /// <summary>Waits for the first steps of an attempt.</summary>
    public Task TrainsAsync(int attempt) => UntilAsync(p => _recoveries == attempt - 1 && p.RecentLosses.Count > 0);

    /// <summary>Waits until an attempt has trained for so long that its state is in its workers' memory: half a second after the first step, and twice that for a busy machine.</summary>
    public Task CommitsAsync(int attempt) =>
        UntilAsync(p => _recoveries == attempt - 1 && p.RecentLosses.Count > 0 && _begun is { } begun && Stopwatch.GetElapsedTime(begun.Time) > TimeSpan.FromSeconds(1.5));

    /// <summary>The hosts of the attempt that runs, in the order of the ranks.</summary>
    public async Task<int[]> HostsAsync() =>
        [.. (await hosts.Jobs.GetJobAsync(new GetJobRequest { JobId = JobId })).Hosts.Select(h => int.Parse(h.Host[1..], System.Globalization.CultureInfo.InvariantCulture))];

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
                (_recoveries, _begun) = (_recoveries + 1, null);
            _last = progress;
            if (progress.RecentLosses.Count > 0)
                _begun ??= (Stopwatch.GetTimestamp(), progress.RecentLosses[0].Step);
            foreach (var loss in progress.RecentLosses)
                _losses[loss.Step] = loss.Loss;
            foreach (var (_, seen) in _waits.Where(w => w.Holds(progress)))
                seen.TrySetResult();
        }
    }
}

internal sealed record SpreadRunEnd(JobSnapshot Job, List<string> Messages, Dictionary<long, double> Losses)
{
    /// <summary>The same model: every step was told, whatever happened in between, with the loss that it has on one rank.</summary>
    public void ShouldBe(SpreadRunEnd alone, int attempts, int ranks)
    {
        Assert.AreEqual((attempts, ranks, SpreadRun.Epochs), (Job.Attempt, Job.Result.WorldSize, Job.Result.Epochs), string.Join('\n', Messages));
        CollectionAssert.AreEqual(alone.Losses.Keys.Order().ToArray(), Losses.Keys.Order().ToArray(), string.Join('\n', Messages));
        foreach (var (step, loss) in alone.Losses)
            Assert.AreEqual(loss, Losses[step], 1e-4 * Math.Max(1, loss), $"step {step}");
        Assert.AreEqual(alone.Job.Result.TrainingLoss, Job.Result.TrainingLoss, 1e-4);
    }
}
