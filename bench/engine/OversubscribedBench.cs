namespace MLDistributed.Engine.Bench;

/// <summary>More ranks than cores: they must go forward without collapse. The same rows a rank and step for any number.</summary>
internal static class OversubscribedBench
{
    private static readonly Dictionary<string, (int Ranks, RunMode Mode)> s_contenders = new()
    {
        ["2 ranks"] = (2, RunMode.Connected),
        ["4 ranks"] = (4, RunMode.Connected),
        ["8 ranks"] = (8, RunMode.Connected),
        ["16 ranks"] = (16, RunMode.Connected),
        ["8 ranks at random addresses"] = (8, RunMode.RandomAddresses),
    };

    public static int Run(string[] args)
    {
        var rounds = args is [var first, ..] ? int.Parse(first) : 5;
        string[] contenders = [.. s_contenders.Keys];
        Console.WriteLine("| model | ranks | samples/s, median | lowest | highest |");
        Console.WriteLine("| --- | --- | --- | --- | --- |");
        var ratios = new List<string>();
        foreach (var model in (Model[])[Model.Named("tiny"), Model.Named("mlp")])
        {
            var table = new RoundTable(contenders);
            using var data = new DataFile(model);
            Rounds.Take(
                rounds,
                contenders,
                contender => TrainBench.Start(model, data.Path, s_contenders[contender].Ranks, s_contenders[contender].Mode),
                (contender, job) => table.Take(contender, job.Turn, TrainBench.Speed));
            table.Print(model.Name, "N0");
            ratios.AddRange(contenders.Skip(1).Select(c => $"| {model.Name} | {c} / 2 ranks | {table.Ratio(c, contenders[0])} |"));
        }

        Console.WriteLine("\n| model | ratio within a round | median (lowest to highest) |");
        Console.WriteLine("| --- | --- | --- |");
        ratios.ForEach(Console.WriteLine);
        return 0;
    }
}
