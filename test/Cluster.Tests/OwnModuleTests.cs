using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;
using TorchModules;
using TorchSharp;
using static TorchSharp.torch;

namespace Cluster.Tests;

/// <summary>Modules of a user's own, from their library to a model that scores without libtorch.</summary>
[TestClass]
public sealed class OwnModuleTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    public TestContext TestContext { get; set; } = null!;

    [TestMethod]
    public void Multiclass_ModuleWithBatchNorm_LearnsTheSameOnOneAndTwoRanksAndSurvivesSaveAndLoad()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);

        var runs = new[] { 1, 2 }.Select(ranks =>
        {
            var losses = new List<StepLoss>();
            var options = new DistributedMulticlassTrainer.Options { Epochs = 6, MinRanks = ranks, MaxRanks = ranks, Progress = new Listener(p => losses.AddRange(p.RecentLosses)) };
            return (Model: ml.MulticlassClassification.Trainers.DistributedTorchModule<NormNet>(new NetOptions(64, 10), options).Fit(split.TrainSet), Losses: losses);
        }).ToArray();

        for (var i = 0; i < 50; i++)
            Assert.AreEqual(runs[0].Losses[i].Loss, runs[1].Losses[i].Loss, 1e-3 * runs[0].Losses[i].Loss, $"step {i + 1}");
        var scored = runs[1].Model.Transform(split.TestSet);
        Assert.IsGreaterThanOrEqualTo(0.93, ml.MulticlassClassification.Evaluate(scored).MicroAccuracy);
        using var file = new MemoryStream();
        ml.Model.Save(runs[1].Model, split.TrainSet.Schema, file);
        file.Position = 0;
        var again = new MLContext().Model.Load(file, out _).Transform(split.TestSet);
        CollectionAssert.AreEqual(scored.GetColumn<uint>("PredictedLabel").ToArray(), again.GetColumn<uint>("PredictedLabel").ToArray());
        Assert.DoesNotContain("libtorch", File.ReadAllText("/proc/self/maps"), "The app that trains has loaded libtorch.");
    }

    [TestMethod]
    public void Multiclass_ConvolutionalModule_LearnsDigits()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);
        var options = new DistributedMulticlassTrainer.Options { Epochs = 12, LearningRate = 0.01, NormalizeFeatures = false };

        var model = ml.MulticlassClassification.Trainers.DistributedTorchModule<SmallCnn>(new NetOptions(64, 10), options).Fit(split.TrainSet);

        Assert.IsGreaterThanOrEqualTo(0.9, ml.MulticlassClassification.Evaluate(model.Transform(split.TestSet)).MicroAccuracy);
    }

    [TestMethod]
    [DataRow(typeof(LstmNet), DisplayName = "recurrent")]
    [DataRow(typeof(OwnTransformer), DisplayName = "attention")]
    public void Multiclass_ModuleOverSteps_LearnsDigits(Type module)
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);
        var options = new DistributedMulticlassTrainer.Options { Epochs = 6, LearningRate = 0.005, MinRanks = 1, MaxRanks = 1 };
        var trainer = (DistributedMulticlassTrainer)typeof(DistributedTorchModuleCatalog).GetMethods()
            .Single(m => m.GetGenericArguments().Length == 1 && m.GetParameters() is [var catalog, ..] && catalog.ParameterType == ml.MulticlassClassification.Trainers.GetType()).MakeGenericMethod(module)
            .Invoke(null, [ml.MulticlassClassification.Trainers, new NetOptions(64, 10, 16), options])!;

        var model = trainer.Fit(split.TrainSet);

        Assert.IsGreaterThanOrEqualTo(0.7, ml.MulticlassClassification.Evaluate(model.Transform(split.TestSet)).MicroAccuracy);
    }

    [TestMethod]
    public void Regression_ModuleWithEmbedding_LearnsIdsAndScoresThoseThatAreUnknown()
    {
        var ml = SharedCluster.NewContext();
        var random = new Random(3);
        var rows = Enumerable.Range(0, 600).Select(_ => new IdRow { Features = [random.Next(50), random.Next(50), random.NextSingle(), random.NextSingle()] }).ToArray();
        foreach (var row in rows)
            row.Label = (row.Features[0] % 2) - (row.Features[1] % 3) + row.Features[2];
        var data = ml.Data.LoadFromEnumerable(rows);

        var model = ml.Regression.Trainers.DistributedTorchModule<EmbeddingNet>(new NetOptions(4, 1), new() { Epochs = 40, LearningRate = 0.02, NormalizeFeatures = false }).Fit(data);

        Assert.IsGreaterThanOrEqualTo(0.8, ml.Regression.Evaluate(model.Transform(data)).RSquared);
        IdRow[] strange = [new() { Features = [1e6f, -7, 0.5f, 0.5f] }, new() { Features = [49, 0, 0.5f, 0.5f] }];
        var scores = model.Transform(ml.Data.LoadFromEnumerable(strange)).GetColumn<float>("Score").ToArray();
        Assert.AreEqual(scores[1], scores[0], 1e-6f);
    }

    private sealed class IdRow
    {
        public float Label { get; set; }

        [VectorType(4)]
        public float[] Features { get; set; } = [];
    }

    [TestMethod]
    public async Task Regression_ResidualModule_ScoresInAnAppThatMapsNoLibtorch()
    {
        var ml = SharedCluster.NewContext();
        var folder = Directory.CreateTempSubdirectory("mltest-").FullName;
        try
        {
            var data = DataSets.Diabetes(ml);
            var model = ml.Regression.Trainers.DistributedTorchModule<ResidualNet>(new NetOptions(10, 1), new() { Epochs = 10 }).Fit(data);
            Assert.IsGreaterThanOrEqualTo(0.3, ml.Regression.Evaluate(model.Transform(data)).RSquared);
            ml.Model.Save(model, data.Schema, Path.Combine(folder, "model.zip"));
            var csv = Path.Combine(folder, "rows.csv");
            await File.WriteAllLinesAsync(csv, File.ReadLines(Path.Combine(AppContext.BaseDirectory, "data", "diabetes.csv")).Skip(1), TestContext.CancellationToken);

            // It references neither TorchSharp nor the module's library.
            using var app = RunningProgram.Start("ScoringApp", folder, "ScoringApp", "model.zip", csv, "Score");
            var exit = await app.Exit(Limit);

            Assert.AreEqual(0, exit, app.Output);
            CollectionAssert.AreEqual(model.Transform(data).GetColumn<float>("Score").ToArray(), app.Output.Split('\n').Select(float.Parse).ToArray());
            Assert.IsFalse(File.Exists(Path.Combine(Path.GetDirectoryName(RunningProgram.PathOf("ScoringApp", "ScoringApp"))!, "TorchSharp.dll")));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [TestMethod]
    public void Binary_ModuleThatWritesItself_IsCalibrated()
    {
        var ml = SharedCluster.NewContext();
        var data = DataSets.BreastCancer(ml);

        var model = ml.BinaryClassification.Trainers.DistributedTorchModule<SelfWritten>(new NetOptions(30, 1), new() { Epochs = 10, LearningRate = 0.01 }).Fit(data);

        Assert.IsGreaterThanOrEqualTo(0.98, ml.BinaryClassification.Evaluate(model.Transform(data)).AreaUnderRocCurve);
    }

    [TestMethod]
    public void Regression_ModuleWithItsOwnTraining_IsTheSameOnOneAndTwoRanksAndTellsItsMetrics()
    {
        var ml = SharedCluster.NewContext();
        var data = DataSets.Diabetes(ml);
        var runs = new[] { 1, 2 }.Select(ranks =>
        {
            var told = new List<TrainingProgress>();
            var options = new DistributedRegressionTrainer.Options { Epochs = 4, ValidationFraction = 0.2, MinRanks = ranks, MaxRanks = ranks, Progress = new Listener(told.Add) };
            return (Model: ml.Regression.Trainers.DistributedTorchModule<OwnSteps>(new NetOptions(10, 1), options).Fit(data), Told: told);
        }).ToArray();

        string[] own = ["Mean label", "Mean output", "Right"];
        foreach (var (model, told) in runs)
        {
            CollectionAssert.IsSubsetOf(own, model.Model.Summary.ValidationMetrics.Keys.ToArray());
            CollectionAssert.IsSubsetOf(own, model.Model.Summary.TrainingMetrics.Keys.ToArray());
            CollectionAssert.IsSubsetOf(own, told[^1].ValidationMetrics.Keys.ToArray());
            StringAssert.Contains(model.Model.Summary.ToString(), "Mean output ");
        }

        foreach (var (one, two) in runs[0].Model.Model.Summary.History.Zip(runs[1].Model.Model.Summary.History))
        {
            Assert.AreEqual(one.ValidationLoss!.Value, two.ValidationLoss!.Value, 1e-3);
            Assert.AreEqual(one.TrainingMetrics["Mean output"], two.TrainingMetrics["Mean output"], 1e-3);
        }

        var scores = runs.Select(r => r.Model.Transform(data).GetColumn<float>("Score").ToArray()).ToArray();
        for (var i = 0; i < scores[0].Length; i++)
            Assert.AreEqual(scores[0][i], scores[1][i], 0.5f, $"row {i}");
    }

    [TestMethod]
    public void Fit_StartFromAnOwnModule_BeginsWithItsWeightsFrozenOnesToo()
    {
        var ml = SharedCluster.NewContext();
        var data = DataSets.Diabetes(ml);
        var first = ml.Regression.Trainers.DistributedTorchModule<GroupedNet>(new NetOptions(10, 1), new() { Epochs = 5, MaxRanks = 1 }).Fit(data);

        // Of another seed, which is another frozen stem.
        var other = SharedCluster.NewContext(77);
        var next = other.Regression.Trainers.DistributedTorchModule<GroupedNet>(new NetOptions(10, 1), new() { Epochs = 1, MaxRanks = 2, LearningRate = 1e-9, StartFrom = first }).Fit(data);

        var (before, after) = (first.Transform(data).GetColumn<float>("Score").ToArray(), next.Transform(data).GetColumn<float>("Score").ToArray());
        for (var i = 0; i < before.Length; i++)
            Assert.AreEqual(before[i], after[i], 1e-2f, $"row {i}");
        var e = Assert.ThrowsExactly<TrainingFailedException>(() => ml.Regression.Trainers.DistributedTorchModule<GroupedNet>(new NetOptions(10, 1, 16), new() { StartFrom = first }).Fit(data));
        StringAssert.Contains(e.Message, "StartFrom does not fit module \"GroupedNet\". Weights \"body.weight\" are [32, 32], expected [16, 16].");
        StringAssert.Contains(e.Message, "Weights \"stem.weight\" are [32, 10], expected [16, 10].");
        var kind = Assert.ThrowsExactly<ArgumentException>(() => ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { StartFrom = first }).Fit(data));
        StringAssert.Contains(kind.Message, "StartFrom is a network of kind Torch beside one of kind Mlp");
    }

    [TestMethod]
    public void Fit_LossThatThrows_FailsOnceWithItsOwnStack()
    {
        var ml = SharedCluster.NewContext();
        var states = new List<TrainingState>();
        var trainer = ml.Regression.Trainers.DistributedTorchModule<BadLoss>(new BadLossOptions("throws"), new() { Progress = new Listener(p => states.Add(p.State)) });

        var e = Assert.ThrowsExactly<TrainingFailedException>(() => trainer.Fit(DataSets.Diabetes(ml)));

        StringAssert.Contains(e.Message, "Module \"BadLoss\" failed in its Loss: InvalidOperationException: no such loss");
        StringAssert.Contains(e.Message, "at TorchModules.BadLoss.Loss(");
        Assert.DoesNotContain(TrainingState.Recovering, states);
    }

    public static IEnumerable<object[]> Bad =>
    [
        [typeof(ThrowsAtOnce), "failed in its constructor: InvalidOperationException: no such width", "at TorchModules.ThrowsAtOnce.Fail()"],
        [typeof(ThrowsLater), "Module \"ThrowsLater\" failed in its forward: InvalidOperationException: cannot go on with 10 features", "at TorchModules.ThrowsLater.Fail(Tensor x)"],
        [typeof(WrongShape), "Module \"WrongShape\" put out [2, 7] of Float32 for 2 rows, expected [2, 1] of Float32", ""],
        [typeof(DoubleNumbers), "of module \"DoubleNumbers\" is Float64, expected Float32", ""],
        [typeof(NothingToTrain), "Module \"NothingToTrain\" has no parameters to train", ""],
        [typeof(NotSeen), "layer \"memory\" (Bilinear) maps to no operator", ""],
    ];

    [TestMethod]
    [DynamicData(nameof(Bad))]
    public void Fit_ModuleThatCannotBeTrained_FailsOnceWithItsOwnStack(Type module, string message, string frame)
    {
        var ml = SharedCluster.NewContext();
        var states = new List<TrainingState>();
        var options = new DistributedRegressionTrainer.Options { Epochs = 1000, Progress = new Listener(p => states.Add(p.State)) };
        var trainer = (DistributedRegressionTrainer)typeof(DistributedTorchModuleCatalog).GetMethods()
            .Single(m => m.GetGenericArguments().Length == 1 && m.GetParameters() is [var catalog, ..] && catalog.ParameterType == ml.Regression.Trainers.GetType()).MakeGenericMethod(module)
            .Invoke(null, [ml.Regression.Trainers, new NetOptions(10, 1), options])!;

        var e = Assert.ThrowsExactly<TrainingFailedException>(() => trainer.Fit(DataSets.Diabetes(ml)));

        StringAssert.Contains(e.Message, message);
        StringAssert.Contains(e.Message, frame);
        Assert.DoesNotContain(TrainingState.Recovering, states);
    }

    [TestMethod]
    public void Trainer_ModuleThatNoWorkerCouldMake_IsRefusedAtOnce()
    {
        var trainers = new MLContext().Regression.Trainers;
        var none = Assert.ThrowsExactly<ArgumentException>(() => trainers.DistributedTorchModule<NormNet>());
        StringAssert.Contains(none.Message, "Module \"NormNet\" has no public constructor without parameters");
        var other = Assert.ThrowsExactly<ArgumentException>(() => trainers.DistributedTorchModule<NormNet>("64"));
        StringAssert.Contains(other.Message, "has no public constructor with one parameter of the type \"String\"");
        var mixed = Assert.ThrowsExactly<ArgumentException>(() => trainers.DistributedTorchModule<NormNet>(new NetOptions(10, 1), new() { HiddenLayers = [5], Dropout = 0.5 }).Fit(DataSets.Diabetes(new MLContext())));
        StringAssert.Contains(mixed.Message, "HiddenLayers is set beside a module of your own");
        StringAssert.Contains(mixed.Message, "Dropout is 0.5 beside a module of your own");
    }

    [TestMethod]
    public async Task Fit_CoordinatorThatAllowsUserCode_TrainsOnRanksThatServeNoOtherJob()
    {
        await using var cluster = await RealCluster.StartAsync(workers: 1, "--user-code", "allow");
        using var connected = cluster.Connect();
        var ml = new MLContext(1).UseCluster(connected);
        var data = DataSets.Diabetes(ml);
        var before = cluster.RanksOf(0);
        Assert.HasCount(2, before);

        var model = ml.Regression.Trainers.DistributedTorchModule<NormNet>(new NetOptions(10, 1), new() { Epochs = 2, OnDisconnect = DisconnectBehavior.Finish }).Fit(data);

        Assert.IsTrue(await ProcessTree.Until(() => cluster.RanksOf(0) is { Count: 2 } now && !now.Intersect(before).Any(), Limit), "Ranks that have run the code live on.");
        var again = await connected.AttachAsync(model.Model.JobId, ml, cancellation: TestContext.CancellationToken);
        CollectionAssert.AreEqual(model.Transform(data).GetColumn<float>("Score").ToArray(), again.Transform(data).GetColumn<float>("Score").ToArray());
    }

    [TestMethod]
    public async Task Fit_CoordinatorThatDeniesUserCode_IsRefusedWithWords()
    {
        await using var cluster = await RealCluster.StartAsync(workers: 0);
        using var connected = cluster.Connect();
        var ml = new MLContext(1).UseCluster(connected);

        var e = Assert.ThrowsExactly<ClusterException>(() => ml.Regression.Trainers.DistributedTorchModule<NormNet>(new NetOptions(10, 1)).Fit(DataSets.Diabetes(ml)));

        StringAssert.Contains(e.Message, "this coordinator denies user code");
        Assert.IsEmpty(Directory.GetFiles(Path.Combine(cluster.DataFolder, "datasets")), "Data was sent before.");
    }
}
