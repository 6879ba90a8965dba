using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

[TestClass]
public sealed class WholeTripTests
{
    public TestContext TestContext { get; set; } = null!;

    [TestMethod]
    public void Multiclass_Digits_LearnsAndSurvivesSaveAndLoad()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);

        var model = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork().Fit(split.TrainSet);
        var metrics = ml.MulticlassClassification.Evaluate(model.Transform(split.TestSet));

        Assert.IsGreaterThanOrEqualTo(0.96, metrics.MicroAccuracy);
        using var file = new MemoryStream();
        ml.Model.Save(model, split.TrainSet.Schema, file);
        file.Position = 0;
        var again = new MLContext().Model.Load(file, out _).Transform(split.TestSet);
        CollectionAssert.AreEqual(Labels(model.Transform(split.TestSet)), Labels(again));
    }

    [TestMethod]
    public void Binary_BreastCancer_IsCalibratedAndCrossValidates()
    {
        var ml = SharedCluster.NewContext();
        var data = DataSets.BreastCancer(ml);

        var folds = ml.BinaryClassification.CrossValidate(data, ml.BinaryClassification.Trainers.DistributedNeuralNetwork(), 3);

        Assert.IsGreaterThanOrEqualTo(0.98, folds.Average(f => f.Metrics.AreaUnderRocCurve));
        Assert.IsLessThanOrEqualTo(0.35, folds.Average(f => f.Metrics.LogLoss));
    }

    [TestMethod]
    public void Regression_Diabetes_PredictsInUnitsOfTheLabelAndRanksFeatures()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Diabetes(ml), 0.2);

        var model = ml.Regression.Trainers.DistributedNeuralNetwork().Fit(split.TrainSet);
        var metrics = ml.Regression.Evaluate(model.Transform(split.TestSet));
        var importance = ml.Regression.PermutationFeatureImportance(model, model.Transform(split.TestSet), permutationCount: 5);

        Assert.IsGreaterThanOrEqualTo(0.25, metrics.RSquared);
        // bmi (2) and s5 (8) are what this data is known for; sex and age matter little.
        var worst = importance.Select((f, i) => (f.RSquared.Mean, i)).OrderBy(f => f.Mean).Take(2).Select(f => f.i).ToArray();
        CollectionAssert.IsSubsetOf(worst, new[] { 2, 3, 4, 8 });
    }

    // Falls with the quality of defaults on tables: 0.87 without the steps of hours and weekdays; trees have 0.945.
    [TestMethod]
    public void Regression_BikeSharing_IsAboutAsGoodAsTrees()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Bike(ml), 0.2);

        var model = ml.Regression.Trainers.DistributedNeuralNetwork().Fit(split.TrainSet);

        Assert.IsGreaterThanOrEqualTo(0.92, ml.Regression.Evaluate(model.Transform(split.TestSet)).RSquared);
    }

    // What most people do with text in ML.NET: thousands of slots, of which a row has a few.
    [TestMethod]
    public void EachTask_FeaturizedText_LearnsSparselyAndSurvivesSaveAndLoad()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(ml.Data.LoadFromEnumerable(Texts(900)), 0.2);
        var text = ml.Transforms.Text.FeaturizeText("Features", "Text");

        var binary = text.Append(ml.BinaryClassification.Trainers.DistributedNeuralNetwork("IsSport", epochs: 10)).Fit(split.TrainSet);
        var classes = text.Append(ml.Transforms.Conversion.MapValueToKey("Key", "Topic")).Append(ml.MulticlassClassification.Trainers.DistributedNeuralNetwork("Key", epochs: 10)).Fit(split.TrainSet);
        var numbers = text.Append(ml.Regression.Trainers.DistributedNeuralNetwork("Size", epochs: 10)).Fit(split.TrainSet);

        Assert.IsGreaterThan(1024, numbers.LastTransformer.Model.FeatureCount);
        Assert.IsEmpty(numbers.LastTransformer.Model.FeatureMeans, "Sparse features are not centred.");
        Assert.IsGreaterThan(0.97, ml.BinaryClassification.Evaluate(binary.Transform(split.TestSet), "IsSport").Accuracy);
        Assert.IsGreaterThan(0.95, ml.MulticlassClassification.Evaluate(classes.Transform(split.TestSet), "Key").MicroAccuracy);
        Assert.IsGreaterThan(0.5, ml.Regression.Evaluate(numbers.Transform(split.TestSet), "Size").RSquared);
        using var file = new MemoryStream();
        ml.Model.Save(numbers, split.TrainSet.Schema, file);
        file.Position = 0;
        CollectionAssert.AreEqual(numbers.Transform(split.TestSet).GetColumn<float>("Score").ToArray(), new MLContext().Model.Load(file, out _).Transform(split.TestSet).GetColumn<float>("Score").ToArray());
    }

    [TestMethod, DataRow(1), DataRow(2)]
    public void Multiclass_StartingFromAModel_StartsAtItsLoss(int ranks)
    {
        var ml = SharedCluster.NewContext();
        var data = DataSets.Digits(ml);
        var losses = new List<double>();
        var options = new DistributedMulticlassTrainer.Options { HiddenLayers = [16], Epochs = 3, ValidationFraction = 0, MaxRanks = ranks };
        var first = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options).Fit(data);
        var expected = ml.MulticlassClassification.Evaluate(first.Transform(data)).LogLoss;
        (options.StartFrom, options.BatchSize, options.Epochs, options.Progress) = (first, int.MaxValue, 1, new Listener(p => losses.AddRange(p.RecentLosses.Select(l => l.Loss))));

        var second = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options).Fit(data);

        Assert.AreEqual(expected, losses.Single(), 1e-4);
        Assert.AreEqual(expected, second.Model.Summary.TrainingLoss, 1e-4);
        Assert.AreEqual(1, second.Model.Summary.Steps);
    }

    [TestMethod]
    public void FindLearningRate_Digits_FallsAndDivergesAndSuggestsARateThatTrains()
    {
        var ml = SharedCluster.NewContext();
        var data = DataSets.Digits(ml);
        var options = new DistributedMulticlassTrainer.Options { HiddenLayers = [64], Epochs = 5 };

        var curve = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options).FindLearningRate(data, 1e-5, 100);

        Assert.AreEqual(1e-5, curve.Points[0].LearningRate, 1e-12);
        var smoothed = curve.Smoothed().ToArray();
        Assert.IsLessThan(smoothed[0] / 2, smoothed.Min());
        // It ends at the first step with four times the least loss, or a few later: what is smoothed may not be far up by then.
        var least = curve.Points.MinBy(p => p.Loss)!;
        Assert.IsGreaterThan(least.Loss * 4, curve.Points.Where(p => p.LearningRate > least.LearningRate).Max(p => p.Loss));
        Assert.IsInRange(1e-4, 0.1, curve.Suggestion);
        options.LearningRate = curve.Suggestion;
        Assert.IsGreaterThan(0.9, ml.MulticlassClassification.Evaluate(ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options).Fit(data).Transform(data)).MicroAccuracy);
    }

    [TestMethod]
    public async Task Model_LoadedByAnAppThatNeverNamesUs_GivesTheSameScores()
    {
        var ml = SharedCluster.NewContext();
        var folder = Directory.CreateTempSubdirectory("mltest-").FullName;
        try
        {
            var data = DataSets.Diabetes(ml);
            var model = ml.Regression.Trainers.DistributedNeuralNetwork(epochs: 3).Fit(data);
            ml.Model.Save(model, data.Schema, Path.Combine(folder, "model.zip"));
            var csv = Path.Combine(folder, "rows.csv");
            await File.WriteAllLinesAsync(csv, File.ReadLines(Path.Combine(AppContext.BaseDirectory, "data", "diabetes.csv")).Skip(1), TestContext.CancellationToken);

            using var app = RunningProgram.Start("ScoringApp", folder, "ScoringApp", "model.zip", csv, "Score");
            var exit = await app.Exit(TimeSpan.FromSeconds(60));

            Assert.AreEqual(0, exit, app.Output);
            var expected = model.Transform(data).GetColumn<float>("Score").ToArray();
            var got = app.Output.Split('\n').Select(float.Parse).ToArray();
            CollectionAssert.AreEqual(expected, got);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // Of words that all topics have, and some of the topic's own; the size is how many of these.
    private static IEnumerable<Document> Texts(int count)
    {
        var random = new Random(5);
        for (var i = 0; i < count; i++)
        {
            var topic = i % 3;
            var own = random.Next(2, 8);
            var words = Enumerable.Range(0, 12).Select(_ => $"common{random.Next(400)}").Concat(Enumerable.Range(0, own).Select(_ => $"{(char)('q' + topic)}topic{random.Next(120)}"));
            yield return new Document { Text = string.Join(' ', words), Topic = $"topic {topic}", IsSport = topic == 0, Size = own };
        }
    }

    private sealed class Document
    {
        public required string Text { get; init; }

        public required string Topic { get; init; }

        public bool IsSport { get; init; }

        public float Size { get; init; }
    }

    private static uint[] Labels(IDataView scored) => scored.GetColumn<uint>("PredictedLabel").ToArray();
}
