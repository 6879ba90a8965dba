using System.Diagnostics;
using MLDistributed.Protocol;

namespace MLDistributed.Bench.Load;

/// <summary>What it costs that an acknowledged job survives a power cut: submissions to two coordinators, of which one waits for the disk.</summary>
internal static class DurabilityBench
{
    private const int Rounds = 5;
    private const int Submissions = 1_000;

    public static async Task RunAsync()
    {
        Console.WriteLine($"| submissions/s over the socket, median of {Rounds} (range) | 1 caller | {LoadBench.Callers} callers |\n| --- | --- | --- |");
        foreach (var (name, isCache) in new[] { ("on the disk before they are acknowledged", false), ("written, and left to the system", true) })
        {
            using var coordinator = await CoordinatorProcess.StartLocallyAsync(isCache).ConfigureAwait(false);
            var jobs = new Jobs.JobsClient(coordinator.ConnectLocally().Invoker);
            var spec = await SmallDataset.AdoptAsync(coordinator.ConnectLocally().Invoker).ConfigureAwait(false);
            Console.WriteLine($"| {name} | {await RateAsync(1).ConfigureAwait(false)} | {await RateAsync(LoadBench.Callers).ConfigureAwait(false)} |");

            async Task<string> RateAsync(int callers)
            {
                var rates = new double[Rounds];
                for (var round = 0; round < Rounds; round++)
                {
                    var started = Stopwatch.GetTimestamp();
                    await LoadBench.SubmitAsync(jobs, spec, Submissions, callers).ConfigureAwait(false);
                    rates[round] = Submissions / Stopwatch.GetElapsedTime(started).TotalSeconds;
                }

                Array.Sort(rates);
                return $"{rates[Rounds / 2]:N0} ({rates[0]:N0} to {rates[^1]:N0})";
            }
        }

        Console.WriteLine();
    }
}
