using System.Collections.Concurrent;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class TrainerTests : IDisposable
{
    private readonly FakeBackend _backend = new();
    private readonly MLContext _ml = new(seed: 1);
    private readonly IDataView _data;

    public TrainerTests()
    {
        _ml.UseCluster(_backend);
        _data = _ml.Data.LoadFromEnumerable(SyntheticData.Examples());
    }

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    public void Multiclass_InPipeline_PredictsTheLabelsOwnValues()
    {
        var model = Multiclass().Fit(_data);

        var scored = model.Transform(_data);
        var metrics = _ml.MulticlassClassification.Evaluate(scored, "Key", predictedLabelColumnName: "PredictedKey");
        Assert.IsGreaterThan(0.95, metrics.MicroAccuracy);
        Assert.IsLessThan(0.6, metrics.LogLoss);
        CollectionAssert.AreEqual(SyntheticData.Kinds, SlotNames(scored.Schema["Score"]));
        using var engine = _ml.Model.CreatePredictionEngine<Example, MulticlassPrediction>(model);
        var prediction = engine.Predict(SyntheticData.Examples()[2]);
        Assert.AreEqual("cat", prediction.PredictedKind);
        Assert.AreEqual(1, prediction.Score.Sum(), 1e-5);
        Assert.IsEmpty(_backend.Files, "dataset files must be gone");
    }

    [TestMethod]
    public void Multiclass_Model_TellsItsOrigin()
    {
        var model = Multiclass().Fit(_data).OfType<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>>().Single().Model;

        Assert.AreEqual("job-1", model.JobId);
        Assert.AreEqual(_backend.Jobs.Single().Data.DatasetId, model.DatasetId);
        Assert.AreEqual((3, 4), (model.ClassCount, model.FeatureCount));
        Assert.AreEqual(1000, model.FeatureMeans[3], 30);
        Assert.AreEqual((0.25, 2, TimeSpan.FromSeconds(1.5)), (model.Summary.TrainingLoss, model.Summary.WorldSize, model.Summary.Duration));
        using var stream = new MemoryStream();
        model.SaveOnnx(stream);
        using var onnx = new OnnxRuntimeScorer(stream.ToArray(), 4, 3);
        var (features, score) = (SyntheticData.Examples()[1].Features, new float[3]);
        onnx.CreateRunner()(features, score);
        Assert.AreEqual(1, Array.IndexOf(score, score.Max()));
    }

    [TestMethod]
    public void Binary_InPipeline_IsCalibrated()
    {
        var model = _ml.BinaryClassification.Trainers.DistributedNeuralNetwork().Fit(_data);

        var scored = model.Transform(_data);
        var metrics = _ml.BinaryClassification.Evaluate(scored);
        Assert.IsGreaterThan(0.95, metrics.Accuracy);
        Assert.IsLessThan(0.5, metrics.LogLoss);
        var (scores, probabilities) = (scored.GetColumn<float>("Score").ToArray(), scored.GetColumn<float>("Probability").ToArray());
        for (var i = 0; i < scores.Length; i++)
            Assert.AreEqual(1 / (1 + Math.Exp(-scores[i])), probabilities[i], 1e-6);
        CollectionAssert.AreEqual(scores.Select(s => s > 0).ToArray(), scored.GetColumn<bool>("PredictedLabel").ToArray());
    }

    [TestMethod]
    public void Regression_InPipeline_PredictsInTheLabelsUnits()
    {
        var model = _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);

        var metrics = _ml.Regression.Evaluate(model.Transform(_data), "Value");

        Assert.IsGreaterThan(0.95, metrics.RSquared);
        var label = _backend.Jobs.Single().Data.Label;
        Assert.AreEqual(SyntheticData.Examples().Average(e => e.Value), label.Mean, 1e-3);
    }

    [TestMethod]
    public void CrossValidate_EveryFold_RunsOnTheContextsCluster()
    {
        var folds = _ml.MulticlassClassification.CrossValidate(_data, Multiclass(), numberOfFolds: 3, labelColumnName: "Key");

        Assert.HasCount(3, _backend.Jobs);
        Assert.IsTrue(folds.All(f => f.Metrics.MicroAccuracy > 0.9));
        Assert.HasCount(1, _backend.Jobs.Select(j => j.Seed).Distinct().ToList());
    }

    [TestMethod]
    public void PermutationFeatureImportance_AllTasks_FindTheFeaturesThatMatter()
    {
        var named = _ml.Data.LoadFromEnumerable(SyntheticData.Examples().Select(e => new { A = e.Features[0], B = e.Features[1], C = e.Features[2], D = e.Features[3], e.Kind, e.Label, e.Value }));
        var concatenate = _ml.Transforms.Concatenate("Features", "A", "B", "C", "D");

        var binary = concatenate.Append(_ml.BinaryClassification.Trainers.DistributedNeuralNetwork()).Fit(named);
        var bySlot = _ml.BinaryClassification.PermutationFeatureImportance(binary.LastTransformer, binary.Transform(named));
        Assert.IsLessThan(-0.1, bySlot[0].AreaUnderRocCurve.Mean);
        Assert.AreEqual(0, bySlot[3].AreaUnderRocCurve.Mean, 0.02);
        Assert.IsLessThan(-0.1, _ml.BinaryClassification.PermutationFeatureImportanceNonCalibrated(binary, binary.Transform(named))["A"].AreaUnderRocCurve.Mean);

        var regression = concatenate.Append(_ml.Regression.Trainers.DistributedNeuralNetwork("Value")).Fit(named);
        Assert.IsLessThan(-0.1, _ml.Regression.PermutationFeatureImportance(regression, regression.Transform(named), "Value")["A"].RSquared.Mean);

        var multiclass = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Append(concatenate)
            .Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork("Key")).Fit(named);
        Assert.IsLessThan(-0.1, _ml.MulticlassClassification.PermutationFeatureImportance(multiclass, multiclass.Transform(named), "Key")["C"].MicroAccuracy.Mean);
    }

    [TestMethod]
    public void Fit_Losses_ReachTheJob()
    {
        _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", Loss = RegressionLoss.Quantile(0.9) }).Fit(_data);
        _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", Loss = RegressionLoss.Huber(0.5) }).Fit(_data);
        _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);
        _ml.BinaryClassification.Trainers.DistributedNeuralNetwork(new DistributedBinaryTrainer.Options { FocalGamma = 2 }).Fit(_data);

        Assert.AreEqual(0.9, _backend.Jobs[0].Loss.Quantile.Level);
        Assert.AreEqual(0.5, _backend.Jobs[1].Loss.Huber.Delta);
        Assert.IsNull(_backend.Jobs[2].Loss);
        Assert.AreEqual(2, _backend.Jobs[3].Loss.Focal.Gamma);
    }

    [TestMethod]
    public void Fit_MaxMicroBatchSize_ReachesTheJob()
    {
        _ml.Transforms.Conversion.MapValueToKey("Key", "Kind")
            .Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options { LabelColumnName = "Key", MaxMicroBatchSize = 6 })).Fit(_data);
        Assert.AreEqual(6, _backend.Jobs.Single().MaxMicroBatchSize);
    }

    [TestMethod]
    public void Fit_ContextWithATempFolder_EncodesThere()
    {
        _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);
        _ml.TempFilePath = Path.Combine(Path.GetTempPath(), "other");

        _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);

        CollectionAssert.AreEqual(new[] { null, _ml.TempFilePath }, _backend.Folders);
    }

    [TestMethod]
    public void Fit_Options_ReachTheJob()
    {
        var options = new DistributedMulticlassTrainer.Options
        {
            LabelColumnName = "Key",
            ExampleWeightColumnName = "Weight",
            HiddenLayers = [7, 5],
            Activation = NetworkActivation.Gelu,
            Dropout = 0.25,
            Normalization = NetworkNormalization.Layer,
            Epochs = 3,
            BatchSize = 17,
            Optimizer = new SgdOptimizer { Momentum = 0.8 },
            LearningRate = 0.5,
            WeightDecay = 0.125,
            Schedule = LearningRateSchedule.Cosine with { WarmupFraction = 0.5, FinalFraction = 0.1 },
            GradientClipNorm = 2,
            LabelSmoothing = 0.1,
            ClassWeights = [1, 2, 3],
            ValidationFraction = 0.2,
            EarlyStopping = new EarlyStopping { PatienceEpochs = 2, MinImprovement = 0.01 },
            Seed = 42,
            NormalizeFeatures = false,
            Reproducibility = Reproducibility.BitExact,
            Precision = TrainingPrecision.TensorFloat32,
            MinRanks = 2,
            MaxRanks = 4,
            Priority = 9,
            QueueTimeout = TimeSpan.FromSeconds(90),
            MaxAttempts = 5,
            OnDisconnect = DisconnectBehavior.Finish,
            CheckpointIntervalEpochs = 2,
            CheckpointInterval = TimeSpan.FromMinutes(2),
            CheckpointsKept = 3,
            JobName = "mine",
        };
        _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options)).Fit(_data);

        var job = _backend.Jobs.Single();
        var expected = new JobSpec
        {
            Name = "mine",
            Task = MlTask.Multiclass,
            Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = 4, OutputSize = 3, HiddenSizes = { 7, 5 }, Activation = Activation.Gelu, Dropout = 0.25, Normalization = LayerNormalization.Layer, OutputBias = { job.Module.Mlp.OutputBias } } },
            Data = new DataSpec { DatasetId = job.Data.DatasetId, RowCount = 150, ValidationFraction = 0.2, WeightScale = 0.25 },
            Optimizer = new OptimizerSpec { Sgd = new SgdSpec { Momentum = 0.8, Nesterov = true }, LearningRate = 0.5, WeightDecay = 0.125 },
            Schedule = new ScheduleSpec { Kind = ScheduleKind.Cosine, WarmupFraction = 0.5, FinalFraction = 0.1 },
            Epochs = 3,
            GlobalBatchSize = 17,
            Seed = 42,
            GradientClipNorm = 2,
            LabelSmoothing = 0.1,
            ClassWeights = { 1, 2, 3 },
            EarlyStopping = new EarlyStoppingSpec { PatienceEpochs = 2, MinImprovement = 0.01 },
            Resources = new ResourceSpec { Device = DeviceKind.Cpu, MinRanks = 2, MaxRanks = 4, MinRanksPerWorker = 1 },
            Priority = 9,
            QueueTimeoutSeconds = 90,
            MaxAttempts = 5,
            DisconnectPolicy = DisconnectPolicy.Finish,
            Checkpoint = new CheckpointSpec { IntervalEpochs = 2, IntervalSeconds = 120, KeepLast = 3, MinIntervalSeconds = 2 },
            BitExact = new BitExactSpec { MicroBatches = 8 },
            Precision = Precision.TensorFloat32,
            ModelSchema = job.ModelSchema,
        };
        Assert.AreEqual(expected, job);
        Assert.IsFalse(job.ModelSchema.IsEmpty, "Other apps make the transformer of it.");
    }

    [TestMethod]
    public void Fit_PlacementAndCompression_ReachTheJob()
    {
        _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            LabelColumnName = "Key",
            MinRanks = 2,
            MaxRanks = 4,
            Placement = RankPlacement.Spread,
            MinRanksPerWorker = 2,
            MaxRanksPerWorker = 3,
            MixedDevices = true,
            GradientCompression = GradientCompression.BFloat16,
        })).Fit(_data);

        Assert.AreEqual(new ResourceSpec { MinRanks = 2, MaxRanks = 4, Placement = Placement.Spread, MinRanksPerWorker = 2, MaxRanksPerWorker = 3, MixedDevices = true }, _backend.Jobs.Single().Resources);
        Assert.AreEqual(Compression.BFloat16, _backend.Jobs.Single().GradientCompression);
    }

    [TestMethod]
    public void UseCluster_TwoContexts_KeepTheirOwn()
    {
        using var other = new FakeBackend();
        var ml = new MLContext(seed: 2).UseCluster(other);

        ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);
        Assert.AreEqual((1, 0), (other.Jobs.Count, _backend.Jobs.Count));

        ml.UseCluster(_backend);
        ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);
        Assert.AreEqual((1, 1), (other.Jobs.Count, _backend.Jobs.Count));
    }

    [TestMethod]
    public void Fit_SameContextSeed_GivesTheSameJobSeed()
    {
        ulong Seed(int seed)
        {
            var ml = new MLContext(seed).UseCluster(_backend);
            ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);
            return _backend.Jobs[^1].Seed;
        }

        Assert.AreEqual(Seed(5), Seed(5));
        Assert.AreNotEqual(Seed(5), Seed(6));
    }

    [TestMethod]
    public void Fit_TwiceOnOneContext_StartsAlike()
    {
        var pipeline = Multiclass();
        pipeline.Fit(_data);
        pipeline.Fit(_data);
        Multiclass().Fit(_data);
        _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", Seed = 1 }).Fit(_data);
        CollectionAssert.AreEqual(new ulong[] { 1, 1, 1, 1 }, _backend.Jobs.Select(j => j.Seed).ToArray(), "The context's seed is 1.");

        var free = new MLContext().UseCluster(_backend).Regression.Trainers.DistributedNeuralNetwork("Value");
        free.Fit(_data);
        free.Fit(_data);
        Assert.AreEqual(_backend.Jobs[^2].Seed, _backend.Jobs[^1].Seed);
    }

    [TestMethod]
    public void Fit_WithoutJobName_IsNamedAfterTrainerAndColumns()
    {
        _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);
        Assert.AreEqual("DistributedRegressionTrainer: Value from Features", _backend.Jobs[^1].Name);

        var name = "line\n" + new string('x', 300);
        _ml.Transforms.CopyColumns(name, "Value").Append(_ml.Regression.Trainers.DistributedNeuralNetwork(name)).Fit(_data);
        Assert.AreEqual(200, _backend.Jobs[^1].Name.Length);
        StringAssert.StartsWith(_backend.Jobs[^1].Name, "DistributedRegressionTrainer: line_xxx");
    }

    [TestMethod]
    public void Fit_BinaryClassWeights_ReachTheJob()
    {
        _ml.BinaryClassification.Trainers.DistributedNeuralNetwork(new DistributedBinaryTrainer.Options { ClassWeights = [1, 10] }).Fit(_data);

        var job = _backend.Jobs.Single();
        CollectionAssert.AreEqual(new float[] { 1, 10 }, job.ClassWeights);
        // A third is true: 2/3 + 10/3 is 4 a row.
        Assert.AreEqual(0.25, job.Data.WeightScale);
    }

    [TestMethod]
    public void Fit_ValidationSet_IsEncodedBesideTheTrainingSet()
    {
        var validation = _ml.Data.LoadFromEnumerable(SyntheticData.Examples(30, seed: 2));
        _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", ValidationSet = validation }).Fit(_data);

        var data = _backend.Jobs.Single().Data;
        Assert.AreEqual((150L, 30L), (data.RowCount, data.ValidationRowCount));
        Assert.AreEqual(_backend.Validations.Single()!.Id.Text, data.ValidationDatasetId);
        Assert.AreNotEqual(data.DatasetId, data.ValidationDatasetId);
    }

    [TestMethod]
    public void Fit_JobLog_ReachesTheContextsLog()
    {
        var messages = new ConcurrentQueue<string>();
        _ml.Log += (_, e) => messages.Enqueue($"{e.Kind}: {e.Message}");
        _backend.OnTrain = (log, _) =>
        {
            log(new LogLine { Level = LogLevel.Info, Source = "coordinator", Message = "queued {0}" });
            log(new LogLine { Level = LogLevel.Warning, Source = "rank 1", Message = "slow" });
        };

        _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);

        Assert.IsTrue(messages.Any(m => m.StartsWith("Info", StringComparison.Ordinal) && m.Contains("coordinator: queued {0}", StringComparison.Ordinal)), string.Join("\n", messages));
        Assert.IsTrue(messages.Any(m => m.StartsWith("Warning", StringComparison.Ordinal) && m.Contains("rank 1: slow", StringComparison.Ordinal)));
    }

    [TestMethod]
    public void Fit_TrainingFails_RemovesTheDatasetFile()
    {
        _backend.OnTrain = (_, _) => throw new IOException("no worker");

        Assert.ThrowsExactly<IOException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data));

        Assert.IsEmpty(_backend.Files);
    }

    [TestMethod]
    [DataRow(2, true, DisplayName = "twice")]
    [DataRow(3, false, DisplayName = "again and again")]
    public void Fit_WhoseDataTheClusterLost_SendsItAgain(int losses, bool succeeds)
    {
        var (messages, left) = (new ConcurrentQueue<string>(), losses);
        _ml.Log += (_, e) => messages.Enqueue(e.Message);
        _backend.OnTrain = (_, _) =>
        {
            if (left-- > 0)
                throw new TrainingFailedException($"job-{left}", "", new JobFailure { Kind = FailureKind.DatasetLost, Message = "Dataset \"ab\" was damaged.", Rank = -1 });
        };

        var fit = () => _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);

        if (succeeds)
            fit();
        else
            StringAssert.Contains(Assert.ThrowsExactly<TrainingFailedException>(fit).Message, "Dataset \"ab\" was damaged.");
        Assert.HasCount(3, _backend.Jobs);
        Assert.AreEqual(3, _backend.DatasetFiles, "A local cluster has taken the file before: it is written again.");
        Assert.IsTrue(messages.Any(m => m.Contains("The cluster lost the data of job job-1, which is sent again for another one: Dataset \"ab\" was damaged.", StringComparison.Ordinal)), string.Join('\n', messages));
    }

    [TestMethod]
    public void Fit_Cancelled_StopsEncodingAndRemovesTheFile()
    {
        using var cancellation = new CancellationTokenSource();
        IEnumerable<Example> Rows()
        {
            foreach (var (index, example) in SyntheticData.Examples().Index())
            {
                if (index == 10)
                    cancellation.Cancel();
                yield return example;
            }
        }

        var options = new DistributedRegressionTrainer.Options { LabelColumnName = "Value", CancellationToken = cancellation.Token };
        Assert.ThrowsExactly<OperationCanceledException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(_ml.Data.LoadFromEnumerable(Rows())));

        Assert.IsEmpty(_backend.Files);
        Assert.IsEmpty(_backend.Jobs);
    }

    [TestMethod]
    public void Transform_ParallelCursors_ScoreEachRowOnce()
    {
        var model = _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);
        var scored = model.Transform(_data);
        var expected = scored.GetColumn<float>("Score").ToArray();

        var shuffled = _ml.Data.ShuffleRows(scored, seed: 3).GetColumn<float>("Score").Order();

        CollectionAssert.AreEqual(expected.Order().ToArray(), shuffled.ToArray());
        Parallel.For(0, 8, _ => CollectionAssert.AreEqual(expected, scored.GetColumn<float>("Score").ToArray()));
    }

    private EstimatorChain<KeyToValueMappingTransformer> Multiclass() =>
        _ml.Transforms.Conversion.MapValueToKey("Key", "Kind")
            .Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork("Key"))
            .Append(_ml.Transforms.CopyColumns("PredictedKey", "PredictedLabel"))
            .Append(_ml.Transforms.Conversion.MapKeyToValue("PredictedKind", "PredictedLabel"));

    private static string[] SlotNames(DataViewSchema.Column column)
    {
        VBuffer<ReadOnlyMemory<char>> names = default;
        column.GetSlotNames(ref names);
        return [.. names.DenseValues().Select(n => n.ToString())];
    }

    private sealed class MulticlassPrediction
    {
        public string PredictedKind { get; set; } = "";

        public float[] Score { get; set; } = [];
    }
}
