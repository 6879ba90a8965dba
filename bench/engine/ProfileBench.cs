using MLDistributed.Training.Loop;

namespace MLDistributed.Engine.Bench;

/// <summary>
/// Where the time of a step goes: median and mean of each phase on rank 0, of a rank alone (which gathers its batches
/// beside the step on the other core), of two that do not talk, and of two that do.
/// </summary>
internal static class ProfileBench
{
    private static readonly (string Name, int Ranks, RunMode Mode)[] s_contenders =
        [("one rank", 1, RunMode.Connected), ("two unconnected", 2, RunMode.Unconnected), ("two ranks", 2, RunMode.Connected)];

    public static int Run(string[] args)
    {
        var models = Model.Chosen(args);
        Console.WriteLine($"| median / mean, us | {string.Join(" | ", Enum.GetNames<StepPhase>())} | samples/s |");
        Console.WriteLine($"| --- |{string.Concat(Enum.GetNames<StepPhase>().Select(_ => " --- |"))} --- |");
        foreach (var model in models)
        {
            using var data = new DataFile(model);
            foreach (var (name, count, mode) in s_contenders)
            {
                var ranks = CoreProbe.Measure(() => TrainBench.Start(model, data.Path, count, mode, "profile")).Point;
                var phases = Enum.GetValues<StepPhase>().Select(phase => $"{ranks[0][2 + 2 * (int)phase]:N1} / {ranks[0][3 + 2 * (int)phase]:N1}");
                Console.WriteLine($"| {model.Name}, {name} | {string.Join(" | ", phases)} | {ranks.Sum(r => r[0]):N0} |");
            }
        }

        return 0;
    }
}
