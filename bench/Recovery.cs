using System.Diagnostics;
using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Distributed;

namespace MLDistributed.Bench;

/// <summary>How long a killed rank keeps a job from training, and how many steps it costs: ranks of a real job are killed again and again.</summary>
internal static class Recovery
{
    private const int DefaultKills = 20;

    public static int Run(string[] args)
    {
        if (!OperatingSystem.IsLinux())
            throw new PlatformNotSupportedException("The recovery bench looks at /proc, which only Linux has.");
        var kills = args is [var count] ? int.Parse(count, CultureInfo.InvariantCulture) : DefaultKills;
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 2 });
        using var done = new CancellationTokenSource();
        // Ctrl-C: what there is so far.
        Console.CancelKeyPress += (_, e) =>
        {
            e.Cancel = true;
            done.Cancel();
        };
        var killer = new Killer(cluster, kills, done);
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        try
        {
            ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
            {
                Epochs = 1_000_000,
                Progress = killer,
                CancellationToken = done.Token,
            }).Fit(DataSets.Digits(ml));
        }
        catch (OperationCanceledException) when (done.IsCancellationRequested)
        {
            // All are killed.
        }

        Console.WriteLine("| a rank killed, to | p50, s | p95, s | longest, s |\n| --- | --- | --- | --- |");
        foreach (var state in new[] { TrainingState.Recovering, TrainingState.Placing, TrainingState.Running })
            Report(state.ToString().ToLowerInvariant(), killer.Recoveries.Select(r => r.Reached.GetValueOrDefault(state)));
        Report("the first losses of the next attempt", killer.Recoveries.Select(r => r.Seconds));
        Console.WriteLine($"\nSteps repeated: p50 {At(killer.Recoveries.Select(r => r.Repeated), 0.5):N0}, p95 {At(killer.Recoveries.Select(r => r.Repeated), 0.95):N0}, of {At(killer.Recoveries.Select(r => r.StepsPerSecond), 0.5):N0} a second; {killer.Recoveries.Count} kills.");
        return 0;
    }

    private static void Report(string name, IEnumerable<double> seconds) =>
        Console.WriteLine($"| {name} | {At(seconds, 0.5):F2} | {At(seconds, 0.95):F2} | {At(seconds, 1):F2} |");

    private static double At(IEnumerable<double> values, double part)
    {
        double[] sorted = [.. values.Order()];
        return sorted[(int)Math.Ceiling(part * sorted.Length) - 1];
    }

    private sealed record Kill(long At, long LastStep, double StepsPerSecond)
    {
        public Dictionary<TrainingState, double> Reached { get; } = [];

        public double Seconds { get; set; }

        public double Repeated { get; set; }
    }

    private sealed class Killer(TrainingCluster cluster, int kills, CancellationTokenSource done) : IProgress<TrainingProgress>
    {
        private readonly Random _random = new(1);
        private Kill? _current;
        private (long At, long Step) _began;
        private long _last;
        private TimeSpan _patience = TimeSpan.FromSeconds(3);

        public List<Kill> Recoveries { get; } = [];

        public void Report(TrainingProgress value)
        {
            _current?.Reached.TryAdd(value.State, Stopwatch.GetElapsedTime(_current.At).TotalSeconds);
            if (value.RecentLosses.Count == 0)
                return;
            var first = value.RecentLosses[0].Step;
            // What was on its way when the rank died comes before the job recovers; what comes after is the next attempt's.
            if (_current?.Reached.ContainsKey(TrainingState.Recovering) == true)
            {
                (_current.Seconds, _current.Repeated) = (Stopwatch.GetElapsedTime(_current.At).TotalSeconds, _last - first + 1);
                Recoveries.Add(_current);
                Console.Error.WriteLine($"kill {Recoveries.Count}: {_current.Seconds:F2} s, {_current.Repeated:N0} steps repeated");
                (_current, _began) = (null, default);
                if (Recoveries.Count == kills)
                    done.Cancel();
            }

            _last = value.RecentLosses[^1].Step;
            if (_began == default)
                _began = (Stopwatch.GetTimestamp(), _last);
            var trained = Stopwatch.GetElapsedTime(_began.At);
            if (_current is not null || trained < _patience || done.IsCancellationRequested)
                return;
            // At any time between two commits.
            _patience = TimeSpan.FromSeconds(2 + 2 * _random.NextDouble());
            _current = new Kill(Stopwatch.GetTimestamp(), _last, (_last - _began.Step) / trained.TotalSeconds);
            KillARank();
        }

        private void KillARank()
        {
            var ranks = Directory.EnumerateDirectories("/proc").Select(Path.GetFileName).Where(n => int.TryParse(n, out _)).Where(IsRank).ToList();
            using var process = Process.GetProcessById(int.Parse(ranks[_random.Next(ranks.Count)]!, CultureInfo.InvariantCulture));
            process.Kill();
        }

        private bool IsRank(string? id)
        {
            try
            {
                var words = File.ReadAllText($"/proc/{id}/cmdline").Split('\0');
                return words.Contains("rank") && words.Any(w => w.StartsWith(cluster.Local!.RunFolder, StringComparison.Ordinal));
            }
            catch (IOException)
            {
                return false; // it has just ended
            }
        }
    }
}
