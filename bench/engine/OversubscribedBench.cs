namespace MLDistributed.Engine.Bench;

/// <summary>More ranks than cores: they must go forward without collapse. The same rows a rank and step for any number.</summary>
internal static class OversubscribedBench
{
    private static readonly (string Name, int Ranks, RunMode Mode)[] s_contenders =
    [
        .. new[] { 2, 4, 8, 16 }.Select(n => ($"{n} ranks", n, RunMode.Connected)),
        ("8 ranks at random addresses", 8, RunMode.RandomAddresses),
    ];

    public static int Run(string[] args)
    {
        var rounds = args is [var first, ..] ? int.Parse(first) : 5;
        string[] contenders = [.. s_contenders.Select(c => c.Name)];
        Console.WriteLine("| model | ranks | samples/s, median | lowest | highest |");
        Console.WriteLine("| --- | --- | --- | --- | --- |");
        var ratios = new List<string>();
        foreach (var model in (Model[])[Model.Named("tiny"), Model.Named("mlp")])
        {
            var table = new RoundTable(rounds, contenders);
            using var data = new DataFile(model);
            table.Take(name =>
            {
                var (_, ranks, mode) = s_contenders.Single(c => c.Name == name);
                return TrainBench.Train(model, data.Path, ranks, mode);
            });
            table.Print(model.Name, "N0");
            ratios.AddRange(contenders.Skip(1).Select(c => $"| {model.Name} | {c} / 2 ranks | {table.Ratio(c, contenders[0])} |"));
        }

        Console.WriteLine();
        Console.WriteLine("| model | ratio within a round | median (lowest to highest) |");
        Console.WriteLine("| --- | --- | --- |");
        ratios.ForEach(Console.WriteLine);
        return 0;
    }
}
