namespace MLDistributed.Engine.Bench;

/// <summary>
/// Training throughput. Every round takes all contenders one after the other, so that ratios are of the same minute.
/// "Unconnected" is two single ranks side by side that do not talk: the ceiling of a trainer that updates everything in
/// every rank.
/// </summary>
internal static class TrainBench
{
    private static readonly string[] s_contenders = ["one rank", "one rank, two threads, twice the batch", "two unconnected", "two ranks", "two ranks, BitExact", "PyTorch one", "PyTorch unconnected", "PyTorch DDP"];

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
            var table = new RoundTable(rounds, peer is null ? s_contenders[..5] : s_contenders);
            using var data = new DataFile(model);
            table.Take(contender => Array.IndexOf(s_contenders, contender) switch
            {
                0 => Train(model, data.Path, 1),
                1 => Train(model, data.Path, 1, RunMode.TwoThreads),
                2 => Train(model, data.Path, 2, RunMode.Unconnected),
                3 => Train(model, data.Path, 2),
                4 => Train(model, data.Path, 2, RunMode.BitExact),
                5 => peer!.Ddp(model, 1),
                6 => peer!.Ddp(model, 2, connected: false),
                _ => peer!.Ddp(model, 2),
            });
            table.Print(model.Name, "N0");
            ratios.Add($"| {model.Name} | ours / own unconnected | {table.Ratio("two ranks", "two unconnected")} |");
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

    /// <summary>Samples/s of all ranks together.</summary>
    public static double Train(Model model, string data, int count, RunMode mode = RunMode.Connected) =>
        Start(model, data, count, mode).Sum(line => double.Parse(line.Split(' ')[0]));

    /// <summary>What each rank printed: samples/s (of all, from rank 0; 0 from the others) and bytes of memory.</summary>
    public static string[] Start(Model model, string data, int count, RunMode mode, string what = "")
    {
        var run = Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), $"mldist-bench-{Guid.NewGuid():N}");
        return Ranks.Run(count, rank => mode == RunMode.Unconnected
            ? ["train-rank", model.Name, "0", "1", $"{run}-{rank}", data, $"{mode}", what]
            : ["train-rank", model.Name, $"{rank}", $"{count}", run, data, $"{mode}", what], threads: mode == RunMode.TwoThreads ? 2 : 1, randomAddresses: mode == RunMode.RandomAddresses);
    }
}
