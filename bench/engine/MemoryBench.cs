using System.Globalization;

namespace MLDistributed.Engine.Bench;

/// <summary>
/// What ranks take of a host's memory for a module of 24 layers with AdamW: parameters once, gradients once a rank, two
/// moments once; with checkpoints and validation a copy of parameters and moments that is being written, and the best
/// epoch's parameters. Linux only. Measured as the ranks' proportional set size, less that of the same ranks on a tiny module.
/// </summary>
internal static class MemoryBench
{
    private const double MiB = 1 << 20;

    public static int Run()
    {
        var deep = Model.Named("deep");
        using var data = new DataFile(deep);
        using var tinyData = new DataFile(Model.Named("tiny"));
        Console.WriteLine($"{deep.ParameterCount:N0} parameters, {deep.ParameterCount * sizeof(float) / MiB:N0} MiB.\n");
        Console.WriteLine("| ranks | checkpoints and validation | measured, MiB | arithmetic, MiB | measured / arithmetic | a rank, MiB |");
        Console.WriteLine("| --- | --- | --- | --- | --- | --- |");
        foreach (var mode in (RunMode[])[RunMode.AdamW, RunMode.AdamW | RunMode.Defaults])
        {
            var hasCopies = mode.HasFlag(RunMode.Defaults);
            foreach (var ranks in (int[])[1, 2, 4])
            {
                var measured = (Bytes(deep, data.Path, ranks, mode) - Bytes(Model.Named("tiny"), tinyData.Path, ranks, mode)) / MiB;
                var arithmetic = deep.ParameterCount * sizeof(float) * (1 + ranks + 2 + (hasCopies ? 3 + 1 : 0)) / MiB;
                Console.WriteLine($"| {ranks} | {(hasCopies ? "yes" : "no")} | {measured:N0} | {arithmetic:N0} | {measured / arithmetic:0.00} | {measured / ranks:N0} |");
            }
        }

        return 0;
    }

    private static double Bytes(Model model, string data, int ranks, RunMode mode)
    {
        using var job = TrainBench.Start(model, data, ranks, mode);
        return job.ProcessIds.Sum(ProportionalSetSize);
    }

    // Memory that n processes map counts as an n-th in each. The C library keeps what a step has freed, so that between
    // two turns there is as much as in the middle of a step.
    private static double ProportionalSetSize(int process)
    {
        var line = File.ReadLines($"/proc/{process}/smaps_rollup").First(l => l.StartsWith("Pss:", StringComparison.Ordinal));
        return 1024 * double.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }
}
