using System.Diagnostics;
using System.Globalization;
using Microsoft.ML;

namespace MLDistributed.Bench;

/// <summary>One set's table of scores: a row for each trainer, which runs once for each seed.</summary>
internal sealed class QualityTable
{
    private readonly int[] _seeds;

    public QualityTable(string title, params int[] seeds)
    {
        _seeds = seeds;
        Console.WriteLine($"\n| {title} | s a Fit | mean | sd | seeds {string.Join(", ", seeds)} |\n| --- | --- | --- | --- | --- |");
    }

    /// <param name="name">The trainer's.</param>
    /// <param name="split">A seed's rows to train with, and those to test with.</param>
    /// <param name="make">The trainer.</param>
    /// <param name="score">What the tested rows are worth, scored.</param>
    public void Row(string name, Func<MLContext, int, (IDataView Training, IDataView Test)> split, Func<MLContext, IEstimator<ITransformer>> make, Func<MLContext, IDataView, double> score)
    {
        var clock = new Stopwatch();
        var scores = Array.ConvertAll(_seeds, seed =>
        {
            var ml = new MLContext(seed);
            var (training, test) = split(ml, seed);
            clock.Start();
            var model = make(ml).Fit(training);
            clock.Stop();
            return score(ml, model.Transform(test));
        });
        var mean = scores.Average();
        var sd = Math.Sqrt(scores.Sum(s => (s - mean) * (s - mean)) / (scores.Length - 1));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {name} | {clock.Elapsed.TotalSeconds / scores.Length:F1} | {mean:F4} | {sd:F4} | {string.Join(", ", scores.Select(s => s.ToString("F4", CultureInfo.InvariantCulture)))} |"));
    }
}
