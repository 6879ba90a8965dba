using System.Globalization;

namespace MLDistributed.Engine.Bench;

/// <summary>All-reduce of float32 values of two ranks, in microseconds, all contenders in every round.</summary>
internal static class AllReduceBench
{
    private const string Seconds = "0.5";
    private const string InPlace = "in place";
    private const string Copied = "copied";
    private static readonly int[] s_sizes = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 100 << 20, 400 << 20];
    private static readonly string[] s_ours = [InPlace, Copied];
    private static readonly string[] s_peers = ["plain C", "plain C, copied", "memcpy", "MPICH", "Gloo"];
    private static readonly (string Above, string Below)[] s_ratios =
        [("Gloo", InPlace), ("Gloo", Copied), ("MPICH", InPlace), ("MPICH", Copied), (InPlace, "plain C"), (Copied, "plain C, copied")];

    public static int Run(string[] args)
    {
        var rounds = args is [var first, ..] ? int.Parse(first) : 5;
        var peer = Peers.Find();
        string[] contenders = peer is null ? s_ours : [.. s_ours, .. s_peers];
        // Gloo's short operations take 0.4 or 4 ms: a median alone would hide it.
        string[] columns = peer is null ? contenders : [.. contenders, "Gloo, mean"];
        Console.WriteLine($"| float32, 2 ranks | {string.Join(" | ", columns)} |");
        Console.WriteLine($"| --- |{string.Concat(columns.Select(_ => " --- |"))}");
        List<string> ratios = [];
        foreach (var size in s_sizes)
        {
            var table = new RoundTable(columns);
            for (var i = 0; i < rounds * contenders.Length; i++)
            {
                var contender = contenders[i % contenders.Length];
                var (mean, _) = table.Take(contender, () => Numbers(s_ours.Contains(contender) ? Ours(size, contender) : peer!.AllReduce(contender, size, Seconds)), point => point.Median);
                if (contender == "Gloo")
                    table.Add("Gloo, mean", mean);
                Console.Error.Write('.');
            }

            Console.Error.WriteLine();
            var name = size < 1 << 20 ? $"{size >> 10} KB" : $"{size >> 20} MB";
            Console.WriteLine($"| {name} | {string.Join(" | ", columns.Select(c => $"{table.Median(c):N1} ({table.Lowest(c):N1} to {table.Highest(c):N1})"))} |");
            if (peer is not null)
                ratios.Add($"| {name} | {string.Join(" | ", s_ratios.Select(r => table.Ratio(r.Above, r.Below)))} | {table.UncleanCount} |");
        }

        if (peer is null)
            return 0;
        Console.WriteLine($"\n| ratio within a round | {string.Join(" | ", s_ratios.Select(r => $"{r.Above} / {r.Below}"))} | points without both cores |");
        Console.WriteLine($"| --- |{string.Concat(s_ratios.Select(_ => " --- |"))} --- |");
        ratios.ForEach(Console.WriteLine);
        return 0;
    }

    private static string Ours(int size, string contender)
    {
        var path = Ranks.NewSegment();
        return Ranks.Run(2, rank => ["allreduce-rank", $"{size}", Seconds, $"{rank}", path, contender == InPlace ? "in-place" : "copied"])[0];
    }

    private static (double Mean, double Median) Numbers(string line)
    {
        var parts = line.Split(' ');
        return (double.Parse(parts[0], CultureInfo.InvariantCulture), double.Parse(parts[1], CultureInfo.InvariantCulture));
    }
}
