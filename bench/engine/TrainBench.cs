using System.Globalization;

namespace MLDistributed.Engine.Bench;

/// <summary>
/// Training throughput. Every round takes all contenders one after the other, so that ratios are of the same minute.
/// "Unconnected" is two single ranks side by side that do not talk: the ceiling of a trainer that updates everything in
/// every rank. "In step" is what they would do if each waited for the other after every step, and talking cost nothing:
/// what interrupts one costs both.
/// </summary>
internal static class TrainBench
{
    private const string Unconnected = "two unconnected";
    private const string InStep = "two unconnected, in step (computed)";
    private static readonly string[] s_contenders = ["one rank", "one rank, two threads, twice the batch", Unconnected, InStep, "two ranks", "two ranks, BitExact", "PyTorch one", "PyTorch unconnected", "PyTorch DDP"];

    public static int Run(string[] args)
    {
        var rounds = args is [var first, ..] ? int.Parse(first) : 5;
        var models = Model.Chosen(args);
        var peer = Peers.Find();
        Console.WriteLine("| model | contender | samples/s, median | lowest | highest |");
        Console.WriteLine("| --- | --- | --- | --- | --- |");
        var ratios = new List<string>();
        foreach (var model in models)
        {
            var table = new RoundTable(rounds, peer is null ? s_contenders[..6] : s_contenders);
            using var data = new DataFile(model);
            var inStep = 0.0;
            table.Take(contender => Array.IndexOf(s_contenders, contender) switch
            {
                0 => Train(model, data.Path, 1),
                1 => Train(model, data.Path, 1, RunMode.TwoThreads),
                2 => SideBySide(model, data.Path, out inStep),
                3 => inStep,
                4 => Train(model, data.Path, 2),
                5 => Train(model, data.Path, 2, RunMode.BitExact),
                6 => peer!.Ddp(model, 1),
                7 => peer!.Ddp(model, 2, connected: false),
                _ => peer!.Ddp(model, 2),
            });
            table.Print(model.Name, "N0");
            ratios.Add($"| {model.Name} | ours / own unconnected | {table.Ratio("two ranks", Unconnected)} |");
            ratios.Add($"| {model.Name} | ours / own unconnected in step | {table.Ratio("two ranks", InStep)} |");
            ratios.Add($"| {model.Name} | two ranks / one rank | {table.Ratio("two ranks", "one rank")} |");
            ratios.Add($"| {model.Name} | two ranks / one rank, two threads | {table.Ratio("two ranks", "one rank, two threads, twice the batch")} |");
            ratios.Add($"| {model.Name} | BitExact / default | {table.Ratio("two ranks, BitExact", "two ranks")} |");
            if (peer is not null)
            {
                ratios.Add($"| {model.Name} | DDP / its unconnected | {table.Ratio("PyTorch DDP", "PyTorch unconnected")} |");
                ratios.Add($"| {model.Name} | ours / PyTorch DDP | {table.Ratio("two ranks", "PyTorch DDP")} |");
            }
        }

        Console.WriteLine();
        Console.WriteLine("| model | ratio within a round | median (lowest to highest) |");
        Console.WriteLine("| --- | --- | --- |");
        ratios.ForEach(Console.WriteLine);
        return 0;
    }

    /// <summary>Samples/s of all ranks together. Timed step by step whoever asks, so that all contenders carry the stopwatch.</summary>
    public static double Train(Model model, string data, int count, RunMode mode = RunMode.Connected) =>
        Start(model, data, count, mode, "steps").Sum(rank => rank[0]);

    // Samples/s of two that do not talk, and what it would be if the slower one's time were the step's.
    private static double SideBySide(Model model, string data, out double inStep)
    {
        var ranks = Start(model, data, 2, RunMode.Unconnected, "steps");
        var steps = ranks[0].Skip(2).Zip(ranks[1].Skip(2)).ToArray();
        var side = 1 / steps.Average(s => s.First) + 1 / steps.Average(s => s.Second);
        var both = ranks.Sum(r => r[0]);
        inStep = both * 2 / steps.Average(s => Math.Max(s.First, s.Second)) / side;
        return both;
    }

    /// <summary>What each rank printed (<see cref="TrainRank.Run"/>).</summary>
    public static double[][] Start(Model model, string data, int count, RunMode mode, string what = "")
    {
        var run = Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), $"mldist-bench-{Guid.NewGuid():N}");
        var lines = Ranks.Run(count, rank => mode == RunMode.Unconnected
            ? ["train-rank", model.Name, "0", "1", $"{run}-{rank}", data, $"{mode}", what]
            : ["train-rank", model.Name, $"{rank}", $"{count}", run, data, $"{mode}", what], threads: mode == RunMode.TwoThreads ? 2 : 1, randomAddresses: mode == RunMode.RandomAddresses);
        return [.. lines.Select(line => line.Split(' ').Select(text => double.Parse(text, CultureInfo.InvariantCulture)).ToArray())];
    }
}
