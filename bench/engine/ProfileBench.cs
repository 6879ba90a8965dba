using System.Globalization;
using MLDistributed.Training.Loop;

namespace MLDistributed.Engine.Bench;

/// <summary>Where the time of a step goes: median and mean of each phase on rank 0, of two ranks that talk and two that do not.</summary>
internal static class ProfileBench
{
    public static int Run(string[] args)
    {
        var models = Model.All.Where(m => args.Length < 2 ? m.Name != "deep" : args.Contains(m.Name)).ToArray();
        Console.WriteLine($"| median / mean, us | {string.Join(" | ", Enum.GetNames<StepPhase>())} | samples/s |");
        Console.WriteLine($"| --- |{string.Concat(Enum.GetNames<StepPhase>().Select(_ => " --- |"))} --- |");
        foreach (var model in models)
        {
            using var data = new DataFile(model);
            foreach (var mode in (RunMode[])[RunMode.Unconnected, RunMode.Connected])
            {
                var ranks = CoreProbe.Measure(() => TrainBench.Start(model, data.Path, 2, mode, "profile")).Point.Select(Numbers).ToArray();
                var phases = Enum.GetValues<StepPhase>().Select(phase => $"{ranks[0][2 + 2 * (int)phase]:N1} / {ranks[0][3 + 2 * (int)phase]:N1}");
                Console.WriteLine($"| {model.Name}, {(mode == RunMode.Connected ? "two ranks" : "two unconnected")} | {string.Join(" | ", phases)} | {ranks.Sum(r => r[0]):N0} |");
            }
        }

        return 0;
    }

    private static double[] Numbers(string line) => [.. line.Split(' ').Select(text => double.Parse(text, CultureInfo.InvariantCulture))];
}
