using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench.Load;

namespace MLDistributed.Bench;

/// <summary>
/// How long a killed rank keeps its job from training while everything else fails too: three jobs of two tenants on three workers,
/// of which ranks and agents are killed and stopped, and the coordinator too.
/// </summary>
internal static partial class Storm
{
    private const int Kill = 9;
    private const int Continue = 18;
    private const int Stop = 19;
    private const int DefaultKills = 60;
    private const int Workers = 3;
    private const int Seed = 1;
    private const double RankKills = 0.6; // of the faults
    private static readonly TimeSpan s_least = TimeSpan.FromSeconds(2); // between two faults
    private static readonly TimeSpan s_more = TimeSpan.FromSeconds(4);

    public static async Task<int> RunAsync(string[] args)
    {
        if (!OperatingSystem.IsLinux())
            throw new PlatformNotSupportedException("The storm sends signals and looks at /proc, which only Linux has.");
        var kills = args is [var count] ? int.Parse(count, CultureInfo.InvariantCulture) : DefaultKills;
        using var coordinator = await CoordinatorProcess.StartAsync().ConfigureAwait(false);
        var workers = Enumerable.Range(0, Workers).Select(i => coordinator.StartWorker($"w{i}")).ToArray();
        TrainingCluster[] tenants = [coordinator.ConnectAs("a"), coordinator.ConnectAs("b")];
        using var done = new CancellationTokenSource();
        var jobs = Enumerable.Range(0, Workers).Select(i => new StormJob()).ToList();
        var fits = jobs.Select((job, i) => Task.Factory.StartNew(() => Fit(tenants[i % tenants.Length], job, done.Token), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)).ToList();
        var faults = new Dictionary<string, int>(StringComparer.Ordinal);
        try
        {
            await RageAsync(coordinator, workers, jobs, fits, kills, faults).ConfigureAwait(false);
        }
        finally
        {
            await done.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(fits).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            foreach (var cluster in tenants)
                cluster.Dispose();
            foreach (var worker in workers)
                worker.Kill(entireProcessTree: true);
        }

        Console.WriteLine($"Faults: {string.Join(", ", faults.OrderByDescending(f => f.Value).Select(f => $"{f.Key} {f.Value}"))}; jobs that ended: {fits.Count(f => f.IsFaulted)}.\n");
        Console.WriteLine("| from the fault to the job's next losses | faults | p50, s | p95, s | longest, s |\n| --- | --- | --- | --- | --- |");
        foreach (var kind in jobs.SelectMany(j => j.Recoveries).GroupBy(r => r.Kind, r => r.Seconds, StringComparer.Ordinal).OrderByDescending(g => g.Count()))
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {kind.Key} | {kind.Count()} | {At(kind, 0.5):F2} | {At(kind, 0.95):F2} | {At(kind, 1):F2} |"));
        return 0;
    }

    // One fault after the other, at random times, whatever the one before still costs.
    private static async Task RageAsync(CoordinatorProcess coordinator, Process[] workers, List<StormJob> jobs, List<Task> fits, int kills, Dictionary<string, int> faults)
    {
        var random = new Random(Seed);
        while (jobs.Any(j => j.Host is null) && fits.All(f => !f.IsCompleted))
            await PauseAsync(TimeSpan.FromSeconds(0.5)).ConfigureAwait(false);
        for (var killed = 0; killed < kills && fits.All(f => !f.IsCompleted);)
        {
            await PauseAsync(s_least + (s_more * random.NextDouble())).ConfigureAwait(false);
            var fault = random.NextDouble();
            var index = random.Next(Workers);
            var job = jobs.Find(j => j.Host == $"w{index}");
            var ranks = Ranks(coordinator, index);
            var name = fault switch
            {
                < RankKills => "rank killed",
                < 0.72 => "rank stopped for 1 to 3 s",
                < 0.80 => "agent killed, started again after 1 s",
                < 0.90 => "agent stopped for 1 to 3 s",
                < 0.95 => "coordinator killed, started again",
                _ => "coordinator stopped for 3 to 8 s",
            };
            if (fault < 0.72 && (job is not { IsTraining: true } || ranks.Count == 0))
                continue;
            faults[name] = faults.GetValueOrDefault(name) + 1;
            Console.Error.WriteLine($"{name}: w{index}");
            switch (fault)
            {
                case < RankKills:
                    job!.Hit(name);
                    Signal(ranks[random.Next(ranks.Count)], Kill);
                    killed++;
                    break;
                case < 0.72:
                    await HoldAsync(ranks[random.Next(ranks.Count)], TimeSpan.FromSeconds(1 + (2 * random.NextDouble()))).ConfigureAwait(false);
                    break;
                case < 0.80:
                    job?.Hit(name);
                    workers[index].Kill();
                    await PauseAsync(TimeSpan.FromSeconds(1)).ConfigureAwait(false);
                    workers[index] = coordinator.StartWorker($"w{index}");
                    break;
                case < 0.90:
                    await HoldAsync(workers[index].Id, TimeSpan.FromSeconds(1 + (2 * random.NextDouble()))).ConfigureAwait(false);
                    break;
                case < 0.95:
                    await coordinator.RestartAsync().ConfigureAwait(false);
                    break;
                default:
                    await HoldAsync(coordinator.Id, TimeSpan.FromSeconds(3 + (5 * random.NextDouble()))).ConfigureAwait(false);
                    break;
            }
        }

        // What the last ones cost is to be known, too.
        for (var waited = 0; waited < 120 && jobs.Any(j => j.IsHit); waited++)
            await PauseAsync(TimeSpan.FromSeconds(0.5)).ConfigureAwait(false);
    }

    private static void Fit(TrainingCluster cluster, StormJob job, CancellationToken cancellation)
    {
        var ml = new MLContext(1);
        ml.UseCluster(cluster);
        try
        {
            ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options { Epochs = 1_000_000, Progress = job, CancellationToken = cancellation }).Fit(DataSets.Digits(ml));
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            // The storm is over.
        }
        catch (Exception e)
        {
            Console.Error.WriteLine($"A job ended: {e.Message}");
            throw;
        }
    }

    private static async Task HoldAsync(int process, TimeSpan time)
    {
        Signal(process, Stop);
        await PauseAsync(time).ConfigureAwait(false);
        Signal(process, Continue);
    }

    // It is the storm's own clock.
    private static Task PauseAsync(TimeSpan time) => Task.Delay(time);

    // By the socket on which they speak with their agent.
    private static List<int> Ranks(CoordinatorProcess coordinator, int worker)
    {
        var socket = Path.Combine(coordinator.Folder, $"w{worker}", "r.sock");
        var ranks = new List<int>();
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
            if (int.TryParse(Path.GetFileName(folder), CultureInfo.InvariantCulture, out var id) && IsNamed(id, socket))
                ranks.Add(id);
        return ranks;
    }

    private static bool IsNamed(int process, string word)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/cmdline").Split('\0').Contains(word, StringComparer.Ordinal);
        }
        catch (IOException)
        {
            return false; // it has just ended
        }
    }

    private static double At(IEnumerable<double> values, double part)
    {
        double[] sorted = [.. values.Order()];
        return sorted[(int)Math.Ceiling(part * sorted.Length) - 1];
    }

    private static void Signal(int process, int signal) => _ = SendSignal(process, signal); // it may have ended by itself

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendSignal(int process, int signal);
}
