using System.Globalization;

namespace MLDistributed.Engine.Bench;

/// <summary>All-reduce of float32 values of two ranks, in microseconds, all contenders in every round.</summary>
internal static class AllReduceBench
{
    private const string Seconds = "0.5";
    private static readonly int[] s_sizes = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 100 << 20, 400 << 20];
    private static readonly string[] s_contenders = ["in place", "copied", "plain C", "memcpy", "MPICH", "Gloo"];

    public static int Run(string[] args)
    {
        var rounds = args is [var first, ..] ? int.Parse(first) : 5;
        var peer = Peers.Find();
        var contenders = peer is null ? s_contenders[..2] : s_contenders;
        Console.WriteLine($"| float32, 2 ranks | {string.Join(" | ", contenders)} |");
        Console.WriteLine($"| --- |{string.Concat(contenders.Select(_ => " --- |"))}");
        List<string> ratios = [];
        foreach (var size in s_sizes)
        {
            var table = new RoundTable(contenders);
            for (var i = 0; i < rounds * contenders.Length; i++)
            {
                var contender = contenders[i % contenders.Length];
                table.Take(contender, () => contender is "in place" or "copied" ? Ours(size, contender) : peer!.AllReduce(contender, size, Seconds), Median);
                Console.Error.Write('.');
            }

            Console.Error.WriteLine();
            var name = size < 1 << 20 ? $"{size >> 10} KB" : $"{size >> 20} MB";
            Console.WriteLine($"| {name} | {string.Join(" | ", contenders.Select(c => $"{table.Median(c):N1} ({table.Lowest(c):N1} to {table.Highest(c):N1})"))} |");
            if (peer is not null)
                ratios.Add($"| {name} | {table.Ratio("Gloo", "in place")} | {table.Ratio("MPICH", "in place")} | {table.Ratio("in place", "plain C")} | {table.Ratio("Gloo", "copied")} | {table.Ratio("MPICH", "copied")} |");
        }

        if (peer is null)
            return 0;
        Console.WriteLine();
        Console.WriteLine("| ratio within a round | Gloo / in place | MPICH / in place | in place / plain C | Gloo / copied | MPICH / copied |");
        Console.WriteLine("| --- | --- | --- | --- | --- | --- |");
        ratios.ForEach(Console.WriteLine);
        return 0;
    }

    private static string Ours(int size, string contender)
    {
        var path = Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), $"mldist-bench-{Guid.NewGuid():N}");
        return Ranks.Run(2, rank => ["allreduce-rank", $"{size}", Seconds, $"{rank}", path, contender == "in place" ? "in-place" : "copied"])[0];
    }

    // Mean and median; the mean of a short operation is that of a few interruptions.
    private static double Median(string line) => double.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture);
}
