using System.Runtime.InteropServices;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;
using TextSpec = MLDistributed.Protocol.TextSpec;
using TextTensors = MLDistributed.Protocol.TextTensors;

namespace Cluster.Tests;

/// <summary>Texts, from columns to a model that is loaded again.</summary>
[TestClass]
public sealed class TextTests
{
    private static readonly string[] s_good = ["great", "good", "lovely", "brilliant"];
    private static readonly string[] s_bad = ["awful", "bad", "boring", "terrible"];

    [TestMethod]
    public void Classification_FromScratch_LearnsTheSameOnOneAndTwoRanksAndScoresAgainAfterLoading()
    {
        var ml = SharedCluster.NewContext();
        var (training, test) = (ml.Data.LoadFromEnumerable(Reviews(400, 1)), ml.Data.LoadFromEnumerable(Reviews(200, 2)));

        var runs = new[] { 1, 2 }.Select(ranks =>
        {
            var losses = new List<StepLoss>();
            var trainer = ml.MulticlassClassification.Trainers.DistributedTextClassification(new DistributedTextClassificationTrainer.Options
            {
                Sentence1ColumnName = nameof(Review.Text), ScoreColumnName = "Probabilities", OutputColumnName = "Verdict", Width = 16, FeedForwardSize = 32, Layers = 1, VocabularySize = 300,
                Training = { MinRanks = ranks, MaxRanks = ranks, LearningRate = 5e-3, Progress = new Listener(p => losses.AddRange(p.RecentLosses)) },
            });
            var pipeline = ml.Transforms.Conversion.MapValueToKey("Label").Append(trainer).Append(ml.Transforms.Conversion.MapKeyToValue("Verdict"));
            return (Model: pipeline.Fit(training), Losses: losses);
        }).ToArray();

        Assert.AreEqual(runs[0].Losses.Count, runs[1].Losses.Count);
        for (var i = 0; i < 30; i++)
            Assert.AreEqual(runs[0].Losses[i].Loss, runs[1].Losses[i].Loss, 1e-3, $"step {i + 1}");
        var scored = runs[1].Model.Transform(test);
        var verdicts = scored.GetColumn<string>("Verdict").ToArray();
        var labels = test.GetColumn<string>("Label").ToArray();
        Assert.IsGreaterThanOrEqualTo(0.95, (double)verdicts.Zip(labels).Count(p => p.First == p.Second) / labels.Length);
        using var file = new MemoryStream();
        ml.Model.Save(runs[1].Model, training.Schema, file);
        file.Position = 0;
        var fresh = new MLContext();
        var loaded = fresh.Model.Load(file, out _);
        CollectionAssert.AreEqual(verdicts, loaded.Transform(test).GetColumn<string>("Verdict").ToArray());
        // Nothing, what no vocabulary has, and far too much are texts too.
        var odd = fresh.Data.LoadFromEnumerable(new[] { "", null, "\u4e2d \ud83d\ude00 \ud800", string.Concat(Enumerable.Repeat("great ", 100_000)) }.Select(t => new Review { Text = t!, Label = "good" }));
        foreach (var probabilities in loaded.Transform(odd).GetColumn<float[]>("Probabilities"))
            Assert.AreEqual(1, probabilities.Sum(), 1e-4);
    }

    [TestMethod]
    public void BinaryClassification_OfTextsAndOfPairs_LearnsAndTellsItsMetricsAndScoresAgainAfterLoading()
    {
        var ml = SharedCluster.NewContext();
        IDataView Texts(int count, int seed) => ml.Data.LoadFromEnumerable(Reviews(count, seed).Select(r => new Question { Sentence1 = r.Text, IsSo = r.Label == "good" }));
        IDataView OfPairs(int count, int seed) => ml.Data.LoadFromEnumerable(Pairs(count, seed).Select(r => new Question { Sentence1 = r.Sentence1, Sentence2 = r.Sentence2, IsSo = r.Label == 1 }));
        foreach (var (data, second) in new (Func<int, int, IDataView>, string?)[] { (Texts, null), (OfPairs, "Sentence2") })
        {
            var (training, test) = (data(400, 1), data(200, 2));
            var pipeline = ml.BinaryClassification.Trainers.DistributedTextClassification(new DistributedBinaryTextClassificationTrainer.Options
            {
                Sentence2ColumnName = second, ScoreColumnName = "Logit", ProbabilityColumnName = "Certainty", OutputColumnName = "Answer", Width = 32, FeedForwardSize = 64, VocabularySize = 200,
                Training = { LabelColumnName = "IsSo", LearningRate = 3e-3, Epochs = 20, MaxRanks = 2, ValidationSet = data(60, 3) },
            });

            var model = pipeline.Fit(training);

            var scored = model.Transform(test);
            var metrics = ml.BinaryClassification.Evaluate(scored, "IsSo", "Logit", "Certainty", "Answer");
            Assert.IsGreaterThanOrEqualTo(0.9, metrics.AreaUnderRocCurve);
            Assert.IsGreaterThanOrEqualTo(0.85, metrics.Accuracy);
            var network = model.OfType<BinaryPredictionTransformer<NeuralNetworkBinaryModel>>().Single().Model;
            CollectionAssert.AreEqual((string[])["Accuracy", "AreaUnderRocCurve", "F1Score"], network.Summary.ValidationMetrics.Keys.ToArray());
            Assert.IsTrue(network.Summary.History.All(e => e.ValidationMetrics["AreaUnderRocCurve"] is > 0 and <= 1));
            using var file = new MemoryStream();
            ml.Model.Save(model, training.Schema, file);
            file.Position = 0;
            CollectionAssert.AreEqual(scored.GetColumn<float>("Certainty").ToArray(), new MLContext().Model.Load(file, out _).Transform(test).GetColumn<float>("Certainty").ToArray());
            using var onnx = new MemoryStream();
            network.SaveOnnx(onnx);
            var tokens = scored.GetColumn<float[]>("Sentence1.Tokens").ToArray();
            using var session = new InferenceSession(onnx.ToArray());
            using var results = session.Run([NamedOnnxValue.CreateFromTensor("features", new DenseTensor<float>(tokens.SelectMany(t => t).ToArray(), [tokens.Length, tokens[0].Length]))]);
            foreach (var (expected, found) in scored.GetColumn<float>("Certainty").Zip(results.Single(r => r.Name == "probability").AsTensor<float>()))
                Assert.AreEqual(expected, found, 1e-5f);
        }
    }

    [TestMethod]
    public void BinaryClassification_WrongColumnsAndOptions_AreAllNamedBeforeDataIsRead()
    {
        var ml = new MLContext();
        var options = new DistributedBinaryTextClassificationTrainer.Options { Sentence1ColumnName = "Text", ScoreColumnName = "Same", ProbabilityColumnName = "Same", OutputColumnName = "", Training = { Epochs = 0 } };

        var message = Assert.ThrowsExactly<ArgumentException>(() => ml.BinaryClassification.Trainers.DistributedTextClassification(options).Fit(ml.Data.LoadFromEnumerable(Reviews(3, 1)))).Message;

        foreach (var expected in (string[])["OutputColumnName is empty", "The output columns Score, Probability are all to be called \"Same\"", "Epochs is 0"])
            StringAssert.Contains(message, expected);
    }

    [TestMethod]
    public void Similarity_FromScratch_LearnsWhetherAPairSaysTheSame()
    {
        var ml = SharedCluster.NewContext();
        var (training, test) = (ml.Data.LoadFromEnumerable(Pairs(400, 1)), ml.Data.LoadFromEnumerable(Pairs(150, 2)));

        var options = new DistributedSentenceSimilarityTrainer.Options { Width = 32, FeedForwardSize = 64, VocabularySize = 200, Training = { LearningRate = 3e-3, Epochs = 20, ValidationSet = ml.Data.LoadFromEnumerable(Pairs(60, 3)) } };
        var model = ml.Regression.Trainers.DistributedSentenceSimilarity(options).Fit(training);

        Assert.IsGreaterThanOrEqualTo(0.5, ml.Regression.Evaluate(model.Transform(test)).RSquared);
    }

    [TestMethod]
    public void Classification_FromWeightsWithAdapters_SendsThemOnceAndReturnsTheSums()
    {
        var ml = SharedCluster.NewContext();
        var vocabulary = TextVocabulary.FromTokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "was", "the", .. s_good, .. s_bad]);
        var text = new TextSpec { VocabularySize = vocabulary.Tokens.Count, Width = 16, Layers = 1, Heads = 2, FeedForwardSize = 24, Positions = 64, OutputSize = 2, Pooling = MLDistributed.Protocol.TextPooling.Mean };
        var random = new Random(1);
        var given = TextTensors.Of(text).Where(t => !t.MayBeMissing).Select(t => new NamedTensor(t.Name, t.Shape, [.. Enumerable.Range(0, (int)t.Length).Select(_ =>
            t.Name.EndsWith("LayerNorm.weight", StringComparison.Ordinal) ? 1 : t.Name.EndsWith("bias", StringComparison.Ordinal) ? 0 : (float)(random.NextDouble() - 0.5))])).ToList();
        var weights = new TextWeights(vocabulary, given) { VocabularySize = text.VocabularySize, Width = 16, Layers = 1, Heads = 2, FeedForwardSize = 24, Positions = 64, Pooling = Microsoft.ML.Distributed.TextPooling.Mean, NormEpsilon = 1e-12 };
        // What a random encoder makes of "was awful." is told apart by what is trained; of a long text one word would be lost.
        var (training, test) = (ml.Data.LoadFromEnumerable(Reviews(300, 1).Select(Verdict)), ml.Data.LoadFromEnumerable(Reviews(100, 2).Select(Verdict)));
        var trainer = ml.MulticlassClassification.Trainers.DistributedTextClassification(new DistributedTextClassificationTrainer.Options
        {
            Sentence1ColumnName = nameof(Review.Text), Weights = weights, Adapter = new LowRankAdapter { Rank = 4, Targets = ["value", "down"] }, Training = { MinRanks = 2, MaxRanks = 2, LearningRate = 1e-2, Epochs = 20 },
        });

        var model = ml.Transforms.Conversion.MapValueToKey("Label").Append(trainer).Fit(training);

        Assert.IsGreaterThanOrEqualTo(0.8, ml.MulticlassClassification.Evaluate(model.Transform(test)).MicroAccuracy);
        using var file = new MemoryStream();
        model.LastTransformer.OfType<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>>().Single().Model.SaveOnnx(file);
        var onnx = ModelProto.Parser.ParseFrom(file.ToArray()).Graph.Initializer.ToDictionary(t => t.Name, t => MemoryMarshal.Cast<byte, float>(t.RawData.Span).ToArray());
        foreach (var tensor in given)
            Assert.AreEqual(tensor.Name.EndsWith("self.value.weight", StringComparison.Ordinal) || tensor.Name.EndsWith("0.output.dense.weight", StringComparison.Ordinal), !tensor.Values.SequenceEqual(onnx[tensor.Name]), tensor.Name);
    }

    [TestMethod]
    public void Classification_OfBytePairs_LearnsAndScoresAgainAfterLoading()
    {
        var folder = Directory.CreateTempSubdirectory("mltest-");
        var (vocabulary, merges) = (Path.Combine(folder.FullName, "vocab.json"), Path.Combine(folder.FullName, "merges.txt"));
        // Each letter, alone and behind a space.
        string[] letters = [.. "abcdefghijklmnopqrstuvwxyz0123456789.".Select(c => c.ToString())];
        string[] tokens = ["<s>", "<pad>", "</s>", "<unk>", "\u0120", .. letters, .. letters.Select(l => "\u0120" + l)];
        File.WriteAllText(vocabulary, $"{{ {string.Join(", ", tokens.Select((t, id) => $"\"{t}\": {id}"))} }}");
        File.WriteAllText(merges, string.Join('\n', letters.Select(l => $"\u0120 {l}")));
        var ml = SharedCluster.NewContext();
        var (training, test) = (ml.Data.LoadFromEnumerable(Reviews(300, 1).Select(Verdict)), ml.Data.LoadFromEnumerable(Reviews(100, 2).Select(Verdict)));
        var trainer = ml.MulticlassClassification.Trainers.DistributedTextClassification(new DistributedTextClassificationTrainer.Options
        {
            Sentence1ColumnName = nameof(Review.Text), Vocabulary = TextVocabulary.FromBytePairFiles(vocabulary, merges), Width = 32, FeedForwardSize = 48, Training = { MaxRanks = 2, LearningRate = 5e-3 },
        });
        folder.Delete(recursive: true);

        var model = ml.Transforms.Conversion.MapValueToKey("Label").Append(trainer).Fit(training);

        var scored = model.Transform(test);
        Assert.IsGreaterThanOrEqualTo(0.95, ml.MulticlassClassification.Evaluate(scored).MicroAccuracy);
        using var file = new MemoryStream();
        ml.Model.Save(model, training.Schema, file);
        file.Position = 0;
        CollectionAssert.AreEqual(scored.GetColumn<float[]>("Score").SelectMany(s => s).ToArray(), new MLContext().Model.Load(file, out _).Transform(test).GetColumn<float[]>("Score").SelectMany(s => s).ToArray());
    }

    [TestMethod]
    public void Classification_WrongColumnsAndOptions_AreAllNamedBeforeDataIsRead()
    {
        var ml = SharedCluster.NewContext();
        var options = new DistributedTextClassificationTrainer.Options
        {
            Sentence1ColumnName = "Stars", Sentence2ColumnName = "Missing", Width = 30, Heads = 4, MaxTokens = 2, VocabularySize = 3, Dropout = 1, FrozenLayers = 1, Adapter = new() { Rank = 0, Targets = ["other"] },
            Training = { HiddenLayers = [1], Epochs = 0 },
        };

        var message = Assert.ThrowsExactly<ArgumentException>(() => ml.MulticlassClassification.Trainers.DistributedTextClassification(options).Fit(ml.Data.LoadFromEnumerable(Reviews(3, 1)))).Message;

        foreach (var expected in (string[])["\"Stars\" is a Single", "\"Missing\" is not in the data", "Width is 30 with 4 heads", "MaxTokens is 2", "VocabularySize is 3", "Dropout is 1", "FrozenLayers is 1 beside Adapter", "Adapter.Rank is 0", "Adapter.Targets are [other]", "HiddenLayers is set", "Epochs is 0"])
            StringAssert.Contains(message, expected);
    }

    private static IEnumerable<Review> Reviews(int count, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < count; i++)
        {
            var isGood = random.Next(2) == 0;
            var word = (isGood ? s_good : s_bad)[random.Next(4)];
            var filler = string.Concat(Enumerable.Range(0, random.Next(1, 12)).Select(_ => $"the film{random.Next(30)} "));
            yield return new Review { Text = $"{filler}was {word}. {filler}", Label = isGood ? "good" : "bad", Stars = isGood ? 5 : 1 };
        }
    }

    private static Review Verdict(Review review) => new() { Text = string.Join(' ', review.Text.Split(' ').SkipWhile(w => w != "was").Take(2)), Label = review.Label };

    private static IEnumerable<Pair> Pairs(int count, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < count; i++)
        {
            var (first, second) = (random.Next(2) == 0, random.Next(2) == 0);
            yield return new Pair { Sentence1 = $"it was {(first ? s_good : s_bad)[random.Next(4)]}", Sentence2 = $"they say {(second ? s_good : s_bad)[random.Next(4)]}", Label = first == second ? 1 : 0 };
        }
    }

    private sealed class Review
    {
        public string Text { get; set; } = "";

        public string Label { get; set; } = "";

        public float Stars { get; set; }
    }

    private sealed class Question
    {
        public string Sentence1 { get; set; } = "";

        public string Sentence2 { get; set; } = "";

        public bool IsSo { get; set; }
    }

    private sealed class Pair
    {
        public string Sentence1 { get; set; } = "";

        public string Sentence2 { get; set; } = "";

        public float Label { get; set; }
    }
}
