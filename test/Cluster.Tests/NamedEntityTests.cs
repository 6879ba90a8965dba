using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

namespace Cluster.Tests;

/// <summary>Named entities, from columns to a model that is loaded again.</summary>
[TestClass]
public sealed class NamedEntityTests
{
    private static readonly string[] s_people = ["Alice", "Bob", "Carmen", "Dimitri", "Eva", "Farid", "Greta", "Hugo"];
    private static readonly string[] s_families = ["Miller", "Santos", "Okafor", "Lindqvist", "Tanaka"];
    private static readonly string[][] s_places = [["Paris"], ["New", "York"], ["Rio", "de", "Janeiro"], ["Oslo"], ["Cape", "Town"], ["Lima"]];

    [TestMethod]
    public void Recognition_FromScratch_LearnsTheSameOnOneAndTwoRanksAndScoresAgainAfterLoading()
    {
        var ml = SharedCluster.NewContext();
        var (training, test) = (ml.Data.LoadFromEnumerable(Sentences(500, 1)), Sentences(150, 2).ToList());

        var runs = new[] { 1, 2 }.Select(ranks =>
        {
            var losses = new List<StepLoss>();
            var trainer = ml.MulticlassClassification.Trainers.DistributedNamedEntityRecognition(new DistributedNamedEntityRecognitionTrainer.Options
            {
                OutputColumnName = "Found", ScoreColumnName = "Certainty", Width = 32, FeedForwardSize = 48, VocabularySize = 400,
                Training = { MinRanks = ranks, MaxRanks = ranks, LearningRate = 5e-3, ValidationSet = Keyed(ml, training, Sentences(60, 3)), Progress = new Listener(p => losses.AddRange(p.RecentLosses)) },
            });
            var pipeline = ml.Transforms.Conversion.MapValueToKey("Label").Append(trainer).Append(ml.Transforms.Conversion.MapKeyToValue("Found"));
            return (Model: pipeline.Fit(training), Losses: losses);
        }).ToArray();

        Assert.AreEqual(runs[0].Losses.Count, runs[1].Losses.Count);
        for (var i = 0; i < 30; i++)
            Assert.AreEqual(runs[0].Losses[i].Loss, runs[1].Losses[i].Loss, 1e-3, $"step {i + 1}");
        var summary = Entities(runs[1].Model).Summary;
        Assert.AreEqual(2, summary.WorldSize);
        CollectionAssert.AreEqual((string[])["Accuracy", "F1Score"], summary.ValidationMetrics.Keys.ToArray());
        Assert.IsGreaterThan(0.9, summary.ValidationMetrics["F1Score"]);
        Assert.IsGreaterThan(0.9, F1(test, Found(runs[1].Model, test)));
        using var file = new MemoryStream();
        ml.Model.Save(runs[1].Model, training.Schema, file);
        file.Position = 0;
        var fresh = new MLContext();
        var loaded = fresh.Model.Load(file, out _);
        foreach (var (before, after) in Found(runs[1].Model, test).Zip(Found(loaded, test)))
            CollectionAssert.AreEqual(before, after);
        // Nothing, what no vocabulary has, and far more than the encoder takes: a label a word.
        Sentence[] odd = [new() { Text = "" }, new() { Text = null! }, new() { Text = " \t\n" }, new() { Text = "\u4e2d \ud83d\ude00 \ud800 \u0007" }, new() { Text = string.Concat(Enumerable.Repeat("then Alice Miller flew to New York  ", 500)) }, new() { Text = new string('x', 100_000) }];
        CollectionAssert.AreEqual((int[])[0, 0, 0, 4, 3500, 1], Found(loaded, odd).Select(l => l.Length).ToArray());
        Assert.IsGreaterThan(0.9, Found(loaded, odd)[4].Chunk(7).Count(l => l[1] == "B-PER" && l[2] == "I-PER" && l[5] == "B-LOC" && l[6] == "I-LOC") / 500.0);
        Assert.IsTrue(loaded.Transform(fresh.Data.LoadFromEnumerable(odd)).GetColumn<float[]>("Certainty").All(row => row.All(p => p is > 0 and <= 1.00001f)));
    }

    [TestMethod]
    public void Recognition_MissingKeysAsInTorchSharp_AreAClassOfTheirOwn()
    {
        var ml = SharedCluster.NewContext();
        var known = ml.Data.LoadFromEnumerable(new[] { new Known { Key = "PERSON" }, new Known { Key = "CITY" } });
        // "0" is none of the keys.
        var training = ml.Data.LoadFromEnumerable(Sentences(300, 1).Select(s => new Sentence { Text = s.Text, Label = [.. s.Label.Select(l => l switch { "O" => "0", _ => l.EndsWith("PER", StringComparison.Ordinal) ? "PERSON" : "CITY" })] }));
        var options = new DistributedNamedEntityRecognitionTrainer.Options { Width = 32, FeedForwardSize = 48, VocabularySize = 400, Training = { LearningRate = 5e-3, MaxRanks = 2 } };

        var model = ml.Transforms.Conversion.MapValueToKey("Label", keyData: known).Append(ml.MulticlassClassification.Trainers.DistributedNamedEntityRecognition(options)).Append(ml.Transforms.Conversion.MapKeyToValue("PredictedLabel")).Fit(training);

        var labels = model.Transform(ml.Data.LoadFromEnumerable(new[] { new Sentence { Text = "Bob Tanaka lives in Oslo" } })).GetColumn<string[]>("PredictedLabel").Single();
        CollectionAssert.AreEqual((string[])["PERSON", "PERSON", "", "", "CITY"], labels);
        Assert.IsGreaterThan(0.9, Entities(model).Summary.TrainingMetrics["F1Score"]);
    }

    [TestMethod]
    public void Recognition_RowWithAnotherNumberOfLabels_IsNamed()
    {
        var ml = SharedCluster.NewContext();
        var rows = Sentences(20, 1).ToList();
        rows[7].Label = [.. rows[7].Label, "O"];
        var data = ml.Data.LoadFromEnumerable(rows);

        var message = Assert.ThrowsExactly<InvalidDataException>(() => Pipeline(ml).Fit(data)).Message;

        StringAssert.Contains(message, $"Label column \"Label\" has {rows[7].Label.Length} labels at row 7, expected {rows[7].Label.Length - 1}, one for each word of column \"Sentence\"");
    }

    [TestMethod]
    public void Recognition_WrongColumnsAndOptions_AreAllNamedBeforeDataIsRead()
    {
        var ml = SharedCluster.NewContext();
        var options = new DistributedNamedEntityRecognitionTrainer.Options
        {
            Sentence1ColumnName = "Missing", Sentence2ColumnName = "Sentence", OutputColumnName = "Score", Pooling = TextPooling.First,
            Training = { LabelColumnName = "Sentence", ExampleWeightColumnName = "Sentence", ClassWeights = [1, 2], Epochs = 0 },
        };

        var message = Assert.ThrowsExactly<ArgumentException>(() => ml.MulticlassClassification.Trainers.DistributedNamedEntityRecognition(options).Fit(ml.Data.LoadFromEnumerable(Sentences(3, 1)))).Message;

        foreach (var expected in (string[])["\"Missing\" is not in the data", "Label column \"Sentence\" is a String", "Weight column \"Sentence\" is not a Single", "Sentence2ColumnName is \"Sentence\"", "OutputColumnName is \"Score\"", "ClassWeights is set", "Pooling is First", "Epochs is 0"])
            StringAssert.Contains(message, expected);
    }

    private static IEstimator<ITransformer> Pipeline(MLContext ml) => ml.Transforms.Conversion.MapValueToKey("Label").Append(ml.MulticlassClassification.Trainers.DistributedNamedEntityRecognition(
        new DistributedNamedEntityRecognitionTrainer.Options { Width = 8, Layers = 1, Heads = 2, FeedForwardSize = 8, VocabularySize = 100, Training = { Epochs = 1, MaxRanks = 1 } }));

    // Validation rows have the keys of the training rows.
    private static IDataView Keyed(MLContext ml, IDataView training, IEnumerable<Sentence> rows) =>
        ml.Transforms.Conversion.MapValueToKey("Label").Fit(training).Transform(ml.Data.LoadFromEnumerable(rows));

    private static NamedEntityTransformer Entities(ITransformer model) => ((IEnumerable<ITransformer>)model).SelectMany(t => t as IEnumerable<ITransformer> ?? [t]).OfType<NamedEntityTransformer>().Single();

    private static string[][] Found(ITransformer model, IEnumerable<Sentence> rows) => [.. model.Transform(new MLContext().Data.LoadFromEnumerable(rows)).GetColumn<string[]>("Found")];

    private static double F1(IEnumerable<Sentence> rows, string[][] found)
    {
        var (right, all) = (0, 0);
        foreach (var (row, labels) in rows.Zip(found))
        {
            var (actual, said) = (Spans(row.Label), Spans(labels));
            right += actual.Intersect(said).Count();
            all += actual.Count + said.Count;
        }

        return 2.0 * right / all;
    }

    private static HashSet<(int Start, int End, string Kind)> Spans(string[] labels)
    {
        var spans = new HashSet<(int, int, string)>();
        for (var i = 0; i < labels.Length; i++)
        {
            if (!labels[i].StartsWith("B-", StringComparison.Ordinal))
                continue;
            var end = i + 1;
            while (end < labels.Length && labels[end] == "I-" + labels[i][2..])
                end++;
            spans.Add((i, end, labels[i][2..]));
        }

        return spans;
    }

    private static IEnumerable<Sentence> Sentences(int count, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < count; i++)
        {
            var words = new List<(string Word, string Label)>();
            foreach (var part in random.Next(4) switch { 0 => "then P flew to L", 1 => "P lives in L", 2 => "in L it rained , said P", _ => "nobody from L met P" } is var template ? template.Split(' ') : [])
                words.AddRange(part switch { "P" => Person(random), "L" => Place(random), _ => [(part, "O")] });
            yield return new Sentence { Text = string.Join(' ', words.Select(w => w.Word)), Label = [.. words.Select(w => w.Label)] };
        }
    }

    private static IEnumerable<(string, string)> Person(Random random)
    {
        yield return (s_people[random.Next(s_people.Length)], "B-PER");
        if (random.Next(2) == 0)
            yield return (s_families[random.Next(s_families.Length)], "I-PER");
    }

    private static IEnumerable<(string, string)> Place(Random random) =>
        s_places[random.Next(s_places.Length)].Select((word, i) => (word, i == 0 ? "B-LOC" : "I-LOC"));

    private sealed class Sentence
    {
        [ColumnName("Sentence")]
        public string Text { get; set; } = "";

        public string[] Label { get; set; } = [];
    }

    private sealed class Known
    {
        public string Key { get; set; } = "";
    }
}
