using System.Diagnostics;
using Microsoft.ML;
using Microsoft.ML.Distributed;

namespace MLDistributed.Bench;

/// <summary>What a Fit costs beyond the training itself (first to last step), on digits with default options.</summary>
internal static class FitOverhead
{
    private const int WarmRounds = 10;

    public static int Run()
    {
        var ml = new MLContext(1);
        var data = DataSets.Digits(ml);
        Console.WriteLine("| Fit on digits | whole, s | training, s | beyond it, s |\n| --- | --- | --- | --- |");
        for (var round = 1; round <= 3; round++)
        {
            using var cluster = TrainingCluster.StartLocal();
            ml.UseCluster(cluster);
            Report($"cold cluster, round {round}", [Measure(ml, data)]);
            if (round == 3)
                Report($"warm cluster, median of {WarmRounds}", Enumerable.Range(0, WarmRounds).Select(_ => Measure(ml, data)));
        }

        return 0;
    }

    private static (double Whole, double Training) Measure(MLContext ml, IDataView data)
    {
        var started = Stopwatch.GetTimestamp();
        var model = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork().Fit(data);
        return (Stopwatch.GetElapsedTime(started).TotalSeconds, model.Model.Summary.Duration.TotalSeconds);
    }

    private static void Report(string name, IEnumerable<(double Whole, double Training)> rounds)
    {
        var sorted = rounds.OrderBy(r => r.Whole - r.Training).ToArray();
        var (whole, training) = sorted[sorted.Length / 2];
        Console.WriteLine($"| {name} | {whole:F2} | {training:F2} | {whole - training:F2} ({sorted[0].Whole - sorted[0].Training:F2} to {sorted[^1].Whole - sorted[^1].Training:F2}) |");
    }
}
