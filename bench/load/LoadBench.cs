using System.Diagnostics;
using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Bench.Load;

/// <summary>
/// What a coordinator takes: submissions, lists and starts with many waiting jobs and many agents, and uploads beside a bare
/// Flight sink. The coordinator is a process of its own, the agents are simulated over the real protocol.
/// </summary>
internal static class LoadBench
{
    public const int Callers = 8;
    private const int Submissions = 400;
    private const int Lists = 40;
    private const int Starts = 40;
    private static readonly int[] s_waiting = [10, 1_000, 5_000, 10_000];
    private static readonly int[] s_agents = [0, 1_000];

    public static async Task<int> RunAsync(string[] args)
    {
        Console.WriteLine($"{Environment.ProcessorCount} cores; {Callers} callers over TLS; the simulated agents run on the same cores.\n");
        if (args is [] or ["jobs"])
            await JobsAsync().ConfigureAwait(false);
        if (args is [] or ["durability"])
            await DurabilityBench.RunAsync().ConfigureAwait(false);
        if (args is [] or ["upload"])
            await UploadBench.RunAsync().ConfigureAwait(false);
        return 0;
    }

    private static async Task JobsAsync()
    {
        Console.WriteLine("| agents | waiting jobs | submissions/s | ListJobs of 100, ms, median (p95) | end of a job to the next one's start, ms, median (p95) | coordinator, MB |\n| --- | --- | --- | --- | --- | --- |");
        foreach (var count in s_agents)
        {
            using var coordinator = await CoordinatorProcess.StartAsync().ConfigureAwait(false);
            var data = await SmallDataset.AdoptAsync(coordinator.Connect().Invoker).ConfigureAwait(false);
            var jobs = new Jobs.JobsClient(coordinator.Connect().Invoker);
            using var agents = await AgentCrowd.ConnectAsync(coordinator, count).ConfigureAwait(false);
            await SubmitAsync(jobs, data, count).ConfigureAwait(false); // one for each agent, held by it
            await agents.AllHoldAsync().ConfigureAwait(false);
            var there = 0;
            foreach (var waiting in s_waiting)
            {
                await SubmitAsync(jobs, data, waiting - there).ConfigureAwait(false);
                var started = Stopwatch.GetTimestamp();
                await SubmitAsync(jobs, data, Submissions).ConfigureAwait(false);
                var perSecond = Submissions / Stopwatch.GetElapsedTime(started).TotalSeconds;
                var lists = await TimesAsync(Lists, () => jobs.ListJobsAsync(new ListJobsRequest { Limit = 100 }).ResponseAsync).ConfigureAwait(false);
                var starts = count == 0 ? "" : Words(await TimesAsync(Starts, agents.EndOneAsync).ConfigureAwait(false));
                there = waiting + Submissions - (count == 0 ? 0 : Starts);
                Console.WriteLine($"| {count:N0} | {waiting:N0} | {perSecond:N0} | {Words(lists)} | {starts} | {coordinator.MegaBytes:N0} |");
            }

            var restart = await coordinator.RestartAsync().ConfigureAwait(false);
            Console.WriteLine($"| {count:N0} | {there:N0} | killed: answers again after {restart.TotalSeconds:N1} s | | | |");
        }

        Console.WriteLine();
    }

    public static async Task SubmitAsync(Jobs.JobsClient jobs, JobSpec spec, int count, int callers = Callers)
    {
        var left = count;
        await Task.WhenAll(Enumerable.Range(0, callers).Select(async _ =>
        {
            while (Interlocked.Decrement(ref left) >= 0)
                await jobs.SubmitJobAsync(new SubmitJobRequest { Spec = spec, RequestId = Guid.NewGuid().ToString("N") });
        })).ConfigureAwait(false);
    }

    private static async Task<double[]> TimesAsync(int count, Func<Task> call)
    {
        var times = new double[count];
        for (var i = 0; i < count; i++)
        {
            var started = Stopwatch.GetTimestamp();
            await call().ConfigureAwait(false);
            times[i] = Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        }

        return [.. times.Order()];
    }

    private static string Words(double[] sorted) => $"{sorted[sorted.Length / 2]:F1} ({sorted[(int)(sorted.Length * 0.95)]:F1})";
}
