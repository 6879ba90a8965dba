using System.Diagnostics;
using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Tests.Shared;

namespace MLDistributed.Bench;

/// <summary>
/// Which section of Debian a package is in, from the one line that describes it: few rows a class, as users of pretrained weights have.
/// The lines are those of apt's own lists on this machine.
/// </summary>
internal static class TextQuality
{
    private const int TrainingRowsPerClass = 30;
    private const int TestRowsPerClass = 60;
    private static readonly string[] s_sections = ["database", "editors", "electronics", "games", "graphics", "mail", "math", "net", "science", "sound", "video", "web"];
    private static readonly int[] s_seeds = [1, 2, 3];

    public static void Compare()
    {
        var lines = Read();
        if (lines.Count < s_sections.Length * (TrainingRowsPerClass + TestRowsPerClass) || MiniLm.Missing is not null)
        {
            Console.WriteLine($"\ntext: left out. {(MiniLm.Missing ?? $"apt knows {lines.Count:N0} packages of these sections, expected Debian's main; run apt-get update.")}");
            return;
        }

        Console.WriteLine($"\n| sections of Debian ({s_sections.Length} classes, {TrainingRowsPerClass} rows each), micro accuracy | mean | sd | s a Fit | seeds {string.Join(", ", s_seeds)} |\n| --- | --- | --- | --- | --- |");
        var weights = MiniLm.Weights;
        Row("**MiniLM, adapters**", lines, ml => Ours(ml, new() { Weights = weights, Adapter = new LowRankAdapter { Targets = ["query", "key", "value", "output", "up", "down"] }, Training = { Epochs = 6 } }));
        Row("**MiniLM, fine-tuned**", lines, ml => Ours(ml, new() { Weights = weights, Training = { LearningRate = 1e-4, Epochs = 4 } }));
        Row("**from scratch**", lines, ml => Ours(ml, new() { Training = { Epochs = 30 } }));
        Row("FeaturizeText, linear (SDCA)", lines, ml => Featurized(ml).Append(ml.MulticlassClassification.Trainers.SdcaMaximumEntropy()));
        Row("FeaturizeText, linear (L-BFGS)", lines, ml => Featurized(ml).Append(ml.MulticlassClassification.Trainers.LbfgsMaximumEntropy()));
        Row("FeaturizeText, LightGBM", lines, ml => Featurized(ml).Append(ml.MulticlassClassification.Trainers.LightGbm()));
    }

    private static IEstimator<ITransformer> Ours(MLContext ml, DistributedTextClassificationTrainer.Options options)
    {
        options.Sentence1ColumnName = nameof(Line.Text);
        return ml.MulticlassClassification.Trainers.DistributedTextClassification(options);
    }

    private static IEstimator<ITransformer> Featurized(MLContext ml) => ml.Transforms.Text.FeaturizeText("Features", nameof(Line.Text));

    private static void Row(string name, IReadOnlyList<Line> lines, Func<MLContext, IEstimator<ITransformer>> make)
    {
        var seconds = 0.0;
        var scores = Array.ConvertAll(s_seeds, seed =>
        {
            var ml = new MLContext(seed);
            var (training, test) = Split(lines, seed);
            var clock = Stopwatch.StartNew();
            var model = ml.Transforms.Conversion.MapValueToKey("Label").Append(make(ml)).Fit(ml.Data.LoadFromEnumerable(training));
            seconds += clock.Elapsed.TotalSeconds;
            return ml.MulticlassClassification.Evaluate(model.Transform(ml.Data.LoadFromEnumerable(test))).MicroAccuracy;
        });
        var mean = scores.Average();
        var sd = Math.Sqrt(scores.Sum(s => (s - mean) * (s - mean)) / (scores.Length - 1));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {name} | {mean:F4} | {sd:F4} | {seconds / scores.Length:F1} | {string.Join(", ", scores.Select(s => s.ToString("F4", CultureInfo.InvariantCulture)))} |"));
    }

    private static (List<Line> Training, List<Line> Test) Split(IReadOnlyList<Line> lines, int seed)
    {
        var random = new Random(seed);
        var (training, test) = (new List<Line>(), new List<Line>());
        foreach (var section in lines.GroupBy(l => l.Label).OrderBy(g => g.Key, StringComparer.Ordinal))
        {
            var shuffled = section.OrderBy(_ => random.Next()).Take(TrainingRowsPerClass + TestRowsPerClass).ToList();
            training.AddRange(shuffled.Take(TrainingRowsPerClass));
            test.AddRange(shuffled.Skip(TrainingRowsPerClass));
        }

        return (training, test);
    }

    // Programs alone, each description once: libraries, data and documentation say the same again.
    private static List<Line> Read()
    {
        try
        {
            using var apt = Process.Start(new ProcessStartInfo("apt-cache", ["dumpavail"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            var found = new Dictionary<string, Line>(StringComparer.Ordinal);
            var (text, section) = ("", "");
            while (apt.StandardOutput.ReadLine() is { } line)
            {
                if (line.StartsWith("Description: ", StringComparison.Ordinal))
                    text = line["Description: ".Length..].Split(" (")[0].Split(" - ")[0];
                else if (line.StartsWith("Section: ", StringComparison.Ordinal))
                    section = line["Section: ".Length..];
                else if (line.Length == 0)
                {
                    if (s_sections.Contains(section) && text.Length > 0)
                        found.TryAdd(text, new Line { Text = text, Label = section });
                    (text, section) = ("", "");
                }
            }

            return [.. found.Values.OrderBy(l => l.Text, StringComparer.Ordinal)];
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return [];
        }
    }

    private sealed class Line
    {
        public string Text { get; set; } = "";

        public string Label { get; set; } = "";
    }
}
