using System.Diagnostics;
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

    public static void Compare()
    {
        var lines = Read();
        if (lines.Count < s_sections.Length * (TrainingRowsPerClass + TestRowsPerClass) || MiniLm.Missing is not null)
        {
            Console.WriteLine($"\ntext: left out. {(MiniLm.Missing ?? $"apt knows {lines.Count:N0} packages of these sections, expected Debian's main; run apt-get update.")}");
            return;
        }

        var table = new QualityTable($"sections of Debian ({s_sections.Length} classes, {TrainingRowsPerClass} rows each), micro accuracy", 1, 2, 3);
        var weights = MiniLm.Weights;
        Row("**MiniLM, adapters**", ml => Ours(ml, new() { Weights = weights, Adapter = new LowRankAdapter { Targets = ["query", "key", "value", "output", "up", "down"] }, Training = { Epochs = 6 } }));
        Row("**MiniLM, fine-tuned**", ml => Ours(ml, new() { Weights = weights, Training = { LearningRate = 1e-4, Epochs = 4 } }));
        Row("**from scratch**", ml => Ours(ml, new() { Training = { Epochs = 30 } }));
        Row("FeaturizeText, linear (SDCA)", ml => Featurized(ml).Append(ml.MulticlassClassification.Trainers.SdcaMaximumEntropy()));
        Row("FeaturizeText, linear (L-BFGS)", ml => Featurized(ml).Append(ml.MulticlassClassification.Trainers.LbfgsMaximumEntropy()));
        Row("FeaturizeText, LightGBM", ml => Featurized(ml).Append(ml.MulticlassClassification.Trainers.LightGbm()));

        void Row(string name, Func<MLContext, IEstimator<ITransformer>> make) =>
            table.Row(name, (ml, seed) => Split(ml, lines, seed), ml => ml.Transforms.Conversion.MapValueToKey("Label").Append(make(ml)), Quality.MicroAccuracy);
    }

    private static IEstimator<ITransformer> Ours(MLContext ml, DistributedTextClassificationTrainer.Options options)
    {
        options.Sentence1ColumnName = nameof(Line.Text);
        return ml.MulticlassClassification.Trainers.DistributedTextClassification(options);
    }

    private static IEstimator<ITransformer> Featurized(MLContext ml) => ml.Transforms.Text.FeaturizeText("Features", nameof(Line.Text));

    private static (IDataView Training, IDataView Test) Split(MLContext ml, IReadOnlyList<Line> lines, int seed)
    {
        var random = new Random(seed);
        var (training, test) = (new List<Line>(), new List<Line>());
        foreach (var section in lines.GroupBy(l => l.Label).OrderBy(g => g.Key, StringComparer.Ordinal))
        {
            var shuffled = section.OrderBy(_ => random.Next()).Take(TrainingRowsPerClass + TestRowsPerClass).ToList();
            training.AddRange(shuffled.Take(TrainingRowsPerClass));
            test.AddRange(shuffled.Skip(TrainingRowsPerClass));
        }

        return (ml.Data.LoadFromEnumerable(training), ml.Data.LoadFromEnumerable(test));
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
