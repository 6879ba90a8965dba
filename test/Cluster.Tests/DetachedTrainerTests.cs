using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Trainers;
using MLDistributed.Bench;
using TorchModules;

namespace Cluster.Tests;

/// <summary>Each kind of trainer's job, submitted by one connection and attached to by another: the transformer is Fit's.</summary>
[TestClass]
public sealed class DetachedTrainerTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private static RealCluster _cluster = null!;

    public TestContext TestContext { get; set; } = null!;

    [ClassInitialize]
    public static async Task Start(TestContext _) => _cluster = await RealCluster.StartAsync(workers: 1, "--user-code", "allow");

    [ClassCleanup]
    public static async Task Stop() => await _cluster.DisposeAsync();

    [TestMethod]
    public Task Attach_Multiclass_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(DataSets.Digits, ml => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options { Epochs = 3, MinRanks = 2, Seed = 5 }));

    [TestMethod]
    public Task Attach_Binary_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(DataSets.BreastCancer, ml => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(new DistributedBinaryTrainer.Options { Epochs = 3, MinRanks = 2, Seed = 5 }));

    [TestMethod]
    public Task Attach_Regression_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(DataSets.Diabetes, ml => ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { Epochs = 3, MinRanks = 2, Seed = 5 }));

    [TestMethod]
    public Task Attach_Ranking_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(DataSets.Queries, ml => ml.Ranking.Trainers.DistributedNeuralNetwork(new DistributedRankingTrainer.Options { Epochs = 2, MinRanks = 2, Seed = 5 }));

    [TestMethod]
    public Task Attach_TextClassification_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(Reviews, ml => ml.MulticlassClassification.Trainers.DistributedTextClassification(new DistributedTextClassificationTrainer.Options
        {
            Sentence1ColumnName = "Text", ScoreColumnName = "Probabilities", OutputColumnName = "Verdict", Width = 16, Layers = 1, FeedForwardSize = 16, VocabularySize = 200,
            Training = { Epochs = 2, MinRanks = 2, Seed = 5, ValidationSet = Reviews(ml) },
        }));

    [TestMethod]
    public Task Attach_BinaryTextClassification_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(Reviews, ml => ml.BinaryClassification.Trainers.DistributedTextClassification(new DistributedBinaryTextClassificationTrainer.Options
        {
            Sentence1ColumnName = "Text", Sentence2ColumnName = "Name", ProbabilityColumnName = "Certainty", Width = 16, Layers = 1, FeedForwardSize = 16, VocabularySize = 200,
            Training = { LabelColumnName = "IsGood", Epochs = 2, MinRanks = 2, Seed = 5 },
        }));

    [TestMethod]
    public Task Attach_SentenceSimilarity_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(Reviews, ml => ml.Regression.Trainers.DistributedSentenceSimilarity(new DistributedSentenceSimilarityTrainer.Options
        {
            Sentence1ColumnName = "Text", Sentence2ColumnName = "Name", Width = 16, Layers = 1, FeedForwardSize = 16, VocabularySize = 200,
            Training = { LabelColumnName = "Stars", Epochs = 2, MinRanks = 2, Seed = 5 },
        }));

    [TestMethod]
    public Task Attach_NamedEntities_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(Reviews, ml => ml.MulticlassClassification.Trainers.DistributedNamedEntityRecognition(new DistributedNamedEntityRecognitionTrainer.Options
        {
            Sentence1ColumnName = "Text", ScoreColumnName = "Certainty", Width = 16, Layers = 1, FeedForwardSize = 16, VocabularySize = 200,
            Training = { LabelColumnName = "Tags", Epochs = 2, MinRanks = 2, Seed = 5 },
        }));

    [TestMethod]
    public Task Attach_Images_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(ml => ml.Transforms.Conversion.MapValueToKey("Label", "Name").Fit(ImageTests.Images(ml)).Transform(ml.Data.TakeRows(ImageTests.Images(ml), 300)), ml => ml.MulticlassClassification.Trainers.DistributedImageClassification(new DistributedImageClassificationTrainer.Options
        {
            FeatureColumnName = "Image", PredictedLabelColumnName = "Digit", ImageHeight = 8, Channels = 1, Epochs = 2, MinRanks = 2, Seed = 5,
        }));

    [TestMethod]
    public Task Attach_ModuleOfSeveralInputs_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(ModuleInputTests.Mapped, ml => ml.Regression.Trainers.DistributedTorchModule<RatingNet, RatingInputs>(
            new NetOptions(2, 1, ModuleInputTests.Users), new() { Epochs = 2, MinRanks = 2, Seed = 5 }));

    [TestMethod]
    public Task Attach_Categories_IsTheTransformerThatFitReturns() =>
        ShouldBeTheSame(CategoricalColumnsTests.Mapped, ml => ml.Regression.Trainers.DistributedNeuralNetwork(["Shop", "Kind"], new() { FeatureColumnName = "Sizes", Epochs = 2, MinRanks = 2, Seed = 5 }));

    [TestMethod]
    public async Task Attach_ToAFitOnALocalCluster_IsItsTransformer()
    {
        var ml = new MLContext(1);
        using var cluster = TrainingCluster.StartLocal(new LocalClusterOptions { Slots = 2 });
        ml.UseCluster(cluster);
        var data = Reviews(ml);
        var trainer = ml.MulticlassClassification.Trainers.DistributedTextClassification(new DistributedTextClassificationTrainer.Options
        {
            Sentence1ColumnName = "Text", Width = 16, Layers = 1, FeedForwardSize = 16, VocabularySize = 200, Training = { Epochs = 1, Seed = 5 },
        });
        var fitted = trainer.Fit(data);
        var jobId = fitted.OfType<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>>().Single().Model.JobId;

        var attached = await cluster.AttachAsync(jobId, cancellation: TestContext.CancellationToken).WaitAsync(Limit, TestContext.CancellationToken);
        var submitted = await (await cluster.SubmitAsync(trainer, data, TestContext.CancellationToken)).WaitAsync(cancellation: TestContext.CancellationToken).WaitAsync(Limit, TestContext.CancellationToken);

        ShouldScoreTheSame(ml, data, fitted, attached);
        ShouldScoreTheSame(ml, data, fitted, submitted);
    }

    [TestMethod]
    public async Task Submit_WhatFitWouldRefuse_IsRefusedInTheSameWords()
    {
        using var connection = _cluster.Connect();
        var ml = new MLContext(1);
        ml.UseCluster(connection);
        var data = Reviews(ml);
        await ShouldRefuseAlike(ml.MulticlassClassification.Trainers.DistributedTextClassification(sentence1ColumnName: "Stars", batchSize: 0));
        await ShouldRefuseAlike(ml.Regression.Trainers.DistributedSentenceSimilarity(sentence1ColumnName: "Missing"));
        await ShouldRefuseAlike(ml.MulticlassClassification.Trainers.DistributedNamedEntityRecognition(labelColumnName: "Text"));
        await ShouldRefuseAlike(ml.MulticlassClassification.Trainers.DistributedImageClassification(featureColumnName: "Stars"));
        await ShouldRefuseAlike(ml.Ranking.Trainers.DistributedNeuralNetwork(labelColumnName: "Text"));
        await ShouldRefuseAlike(ml.Ranking.Trainers.DistributedNeuralNetwork(["Text"]));
        await ShouldRefuseAlike(ml.Regression.Trainers.DistributedTorchModule<RatingNet, RatingInputs>(new NetOptions(2, 1)));

        async Task ShouldRefuseAlike<TTrainer>(TTrainer trainer)
            where TTrainer : IEstimator<ITransformer>, IDistributedTrainer
        {
            var expected = Assert.ThrowsExactly<ArgumentException>(() => trainer.Fit(data));
            Assert.AreEqual(expected.Message, (await Assert.ThrowsExactlyAsync<ArgumentException>(() => connection.SubmitAsync(trainer, data, TestContext.CancellationToken))).Message);
        }
    }

    [TestMethod]
    public async Task Submit_CancelledWhileTextsAreRead_Ends()
    {
        using var connection = _cluster.Connect();
        using var stop = new CancellationTokenSource();
        var ml = new MLContext(1);
        var rows = ml.Data.LoadFromEnumerable(Enumerable.Range(0, int.MaxValue).Select(i =>
        {
            if (i == 1000)
                stop.Cancel();
            return new Review { Text = "it was good", Name = "N", Label = i % 2 == 0 ? "good" : "bad" };
        }));
        var keys = ml.Transforms.Conversion.MapValueToKey("Label", keyData: ml.Data.LoadFromEnumerable(new[] { new Named { Label = "good" }, new Named { Label = "bad" } })).Fit(rows);

        var submit = connection.SubmitAsync(ml.MulticlassClassification.Trainers.DistributedTextClassification(sentence1ColumnName: "Text"), keys.Transform(rows), stop.Token);

        await Assert.ThrowsAsync<OperationCanceledException>(() => submit.WaitAsync(Limit, TestContext.CancellationToken));
    }

    private async Task ShouldBeTheSame<TTrainer>(Func<MLContext, IDataView> load, Func<MLContext, TTrainer> make)
        where TTrainer : IEstimator<ITransformer>, IDistributedTrainer
    {
        var ml = new MLContext(1);
        var data = load(ml);
        string jobId;
        ITransformer fitted;
        using (var connection = _cluster.Connect())
        {
            ml.UseCluster(connection);
            fitted = make(ml).Fit(data);
            jobId = (await connection.SubmitAsync(make(ml), data, TestContext.CancellationToken)).Id;
        }

        using var another = _cluster.Connect();
        var attached = await another.AttachAsync(jobId, cancellation: TestContext.CancellationToken).WaitAsync(Limit, TestContext.CancellationToken);

        ShouldScoreTheSame(ml, data, fitted, attached);
    }

    private static void ShouldScoreTheSame(MLContext ml, IDataView data, ITransformer fitted, ITransformer attached)
    {
        Assert.AreEqual(fitted.GetType(), attached.GetType());
        var (expected, found) = (fitted.Transform(data), attached.Transform(data));
        Assert.AreEqual(Describe(expected.Schema), Describe(found.Schema));
        CollectionAssert.AreEqual(Outputs(data, expected), Outputs(data, found));
        // Of a model that was saved and loaded too.
        using var file = new MemoryStream();
        ml.Model.Save(attached, data.Schema, file);
        file.Position = 0;
        var again = ml.Model.Load(file, out _).Transform(data);
        Assert.AreEqual(Describe(expected.Schema), Describe(again.Schema));
        CollectionAssert.AreEqual(Outputs(data, expected), Outputs(data, again));
    }

    private static string Describe(DataViewSchema schema) => string.Join('\n', schema.Select(c =>
        $"{c.Name}: {c.Type} {string.Join(", ", c.Annotations.Schema.Select(a => a.Name))} {(c.HasSlotNames() ? "slots" : "")} {Keys(c)}"));

    private static string Keys(DataViewSchema.Column column)
    {
        if (column.Annotations.Schema.GetColumnOrNull("KeyValues") is not { } keys)
            return "";
        if (((VectorDataViewType)keys.Type).ItemType is not TextDataViewType)
        {
            var numbers = default(VBuffer<float>);
            column.Annotations.GetValue("KeyValues", ref numbers);
            return string.Join(' ', numbers.DenseValues());
        }

        var names = default(VBuffer<ReadOnlyMemory<char>>);
        column.Annotations.GetValue("KeyValues", ref names);
        return string.Join(' ', names.DenseValues());
    }

    // All numbers and keys that the transformers add.
    private static float[] Outputs(IDataView data, IDataView scored)
    {
        var outputs = new List<float>();
        foreach (var column in scored.Schema.Where(c => !c.IsHidden && data.Schema.GetColumnOrNull(c.Name) is null))
            outputs.AddRange(column.Type switch
            {
                VectorDataViewType { ItemType: KeyDataViewType } => scored.GetColumn<uint[]>(column).SelectMany(k => k).Select(k => (float)k),
                VectorDataViewType => scored.GetColumn<float[]>(column).SelectMany(s => s),
                KeyDataViewType => scored.GetColumn<uint>(column).Select(k => (float)k),
                BooleanDataViewType => scored.GetColumn<bool>(column).Select(b => b ? 1f : 0),
                _ => scored.GetColumn<float>(column),
            });
        Assert.IsNotEmpty(outputs);
        return [.. outputs];
    }

    private static IDataView Reviews(MLContext ml)
    {
        var random = new Random(1);
        var rows = ml.Data.LoadFromEnumerable(Enumerable.Range(0, 200).Select(_ =>
        {
            var isGood = random.Next(2) == 0;
            string[] words = [.. Enumerable.Range(0, random.Next(1, 9)).Select(_ => $"film{random.Next(30)}"), "was", isGood ? "good" : "bad"];
            return new Review { Text = string.Join(' ', words), Name = $"review {random.Next(9)}", Label = isGood ? "good" : "bad", IsGood = isGood, Stars = isGood ? 5 : 1, Tags = [.. words.Select(w => w[0] == 'f' ? "B-FILM" : "O")] };
        }).ToList());
        return ml.Transforms.Conversion.MapValueToKey("Label").Append(ml.Transforms.Conversion.MapValueToKey("Tags")).Fit(rows).Transform(rows);
    }

    private sealed class Review
    {
        public string Text { get; set; } = "";

        public string Name { get; set; } = "";

        public string Label { get; set; } = "";

        public bool IsGood { get; set; }

        public float Stars { get; set; }

        public string[] Tags { get; set; } = [];
    }

    private sealed class Named
    {
        public string Label { get; set; } = "";
    }
}
