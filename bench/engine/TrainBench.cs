using MLDistributed.Training.Profiling;

namespace MLDistributed.Engine.Bench;

/// <summary>
/// Training throughput, and where the time of a step goes in the same turns. "Unconnected" is two single ranks side by side
/// that do not talk: the ceiling of a trainer that updates everything in every rank. "In lock step" they wait for each other
/// before each step and after its backward, and share nothing else: what interrupts one costs both, and both want memory
/// at the same moments.
/// </summary>
internal static class TrainBench
{
    private const string One = "one rank";
    private const string OneTwice = "one rank, twice the batch";
    private const string TwoThreads = "one rank, twice the batch, two threads";
    private const string Unconnected = "two unconnected";
    private const string InLockStep = "two unconnected, in lock step";
    private const string Two = "two ranks";
    private const string BitExact = "two ranks, BitExact";
    private const string UnconnectedAdamW = "two unconnected, AdamW, clipped";
    private const string TwoAdamW = "two ranks, AdamW, clipped";
    private const string TwoDefaults = "two ranks, AdamW, clipped, checkpoints, scaling, validation";
    private const string TorchOne = "PyTorch one";
    private const string TorchUnconnected = "PyTorch unconnected";
    private const string TorchDdp = "PyTorch DDP";
    private static readonly string[] s_ours = [One, OneTwice, TwoThreads, Unconnected, InLockStep, Two, BitExact, UnconnectedAdamW, TwoAdamW, TwoDefaults];
    private static readonly string[] s_peers = [TorchOne, TorchUnconnected, TorchDdp];
    private static readonly string[] s_profiled = [One, Unconnected, Two, UnconnectedAdamW, TwoAdamW];

    public static int Run(string[] args)
    {
        var rounds = args is [var first, ..] ? int.Parse(first) : 5;
        var peer = Peers.Find();
        string[] contenders = peer is null ? s_ours : [.. s_ours, .. s_peers];
        Console.WriteLine("| model | contender | samples/s, median | lowest | highest |");
        Console.WriteLine("| --- | --- | --- | --- | --- |");
        List<string> ratios = [], profiles = [];
        foreach (var model in Model.Chosen(args))
        {
            var table = new RoundTable(contenders);
            var phases = s_profiled.ToDictionary(c => c, _ => new List<double[]>());
            using var data = new DataFile(model);
            Rounds.Take(rounds, contenders, contender => Start(contender, model, data.Path, peer), (contender, job) =>
            {
                var ranks = table.Take(contender, job.Turn, Speed);
                if (phases.TryGetValue(contender, out var turns))
                    turns.Add(ranks[0][1..]);
            });
            table.Print(model.Name, "N0");
            ratios.AddRange(Ratios(table, peer is not null).Select(ratio => $"| {model.Name} | {ratio} |"));
            profiles.AddRange(phases.Select(p => $"| {model.Name}, {p.Key} | {Profile(p.Value)} |"));
        }

        Console.WriteLine("\n| model | ratio within a round | median (lowest to highest) |");
        Console.WriteLine("| --- | --- | --- |");
        ratios.ForEach(Console.WriteLine);
        Console.WriteLine($"\n| median / mean of a turn's steps on its first rank, us, median of the turns | {string.Join(" | ", Enum.GetNames<StepPhase>())} |");
        Console.WriteLine($"| --- |{string.Concat(Enum.GetNames<StepPhase>().Select(_ => " --- |"))}");
        profiles.ForEach(Console.WriteLine);
        return 0;
    }

    /// <summary>A job of ours.</summary>
    public static Job Start(Model model, string data, int count, RunMode mode = RunMode.Connected)
    {
        var run = Ranks.NewSegment();
        var processes = Ranks.Start(
            count,
            rank => ["train-rank", model.Name, $"{rank}", $"{count}", run, data, $"{mode}"],
            threads: mode.HasFlag(RunMode.TwoThreads) ? 2 : 1,
            randomAddresses: mode.HasFlag(RunMode.RandomAddresses));
        return new Job(processes, leaders: Enumerable.Range(0, count).Count(rank => TrainRank.Leads(rank, mode)));
    }

    /// <summary>Samples/s of all ranks together.</summary>
    public static double Speed(double[][] leaders) => leaders.Sum(leader => leader[0]);

    private static Job Start(string contender, Model model, string data, Peers? peer) => contender switch
    {
        One => Start(model, data, 1),
        OneTwice => Start(model, data, 1, RunMode.TwiceTheRows),
        TwoThreads => Start(model, data, 1, RunMode.TwiceTheRows | RunMode.TwoThreads),
        Unconnected => Start(model, data, 2, RunMode.Unconnected),
        InLockStep => Start(model, data, 2, RunMode.LockStep),
        Two => Start(model, data, 2),
        BitExact => Start(model, data, 2, RunMode.BitExact),
        UnconnectedAdamW => Start(model, data, 2, RunMode.Unconnected | RunMode.AdamW),
        TwoAdamW => Start(model, data, 2, RunMode.AdamW),
        TwoDefaults => Start(model, data, 2, RunMode.AdamW | RunMode.Defaults),
        TorchOne => peer!.Ddp(model, 1),
        TorchUnconnected => peer!.Ddp(model, 2, connected: false),
        _ => peer!.Ddp(model, 2),
    };

    private static IEnumerable<string> Ratios(RoundTable table, bool hasPeers)
    {
        yield return $"ours / own unconnected | {table.Ratio(Two, Unconnected)}";
        yield return $"ours / own unconnected in lock step | {table.Ratio(Two, InLockStep)}";
        yield return $"unconnected in lock step / unconnected | {table.Ratio(InLockStep, Unconnected)}";
        yield return $"ours / own unconnected, AdamW, clipped | {table.Ratio(TwoAdamW, UnconnectedAdamW)}";
        yield return $"with checkpoints, scaling and validation / without | {table.Ratio(TwoDefaults, TwoAdamW)}";
        yield return $"two ranks / one rank | {table.Ratio(Two, One)}";
        yield return $"two ranks / one rank, twice the batch | {table.Ratio(Two, OneTwice)}";
        yield return $"two ranks / one rank, twice the batch, two threads | {table.Ratio(Two, TwoThreads)}";
        yield return $"BitExact / default | {table.Ratio(BitExact, Two)}";
        if (!hasPeers)
            yield break;
        yield return $"DDP / its unconnected | {table.Ratio(TorchDdp, TorchUnconnected)}";
        yield return $"ours / PyTorch DDP | {table.Ratio(Two, TorchDdp)}";
    }

    private static string Profile(List<double[]> turns) => string.Join(" | ", Enumerable.Range(0, turns[0].Length)
        .Select(i => RoundTable.Median(turns.Select(turn => turn[i]))).Chunk(2).Select(phase => $"{phase[0]:N1} / {phase[1]:N1}"));
}
