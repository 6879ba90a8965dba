using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class ValidationTests : IDisposable
{
    private readonly FakeBackend _backend = new();
    private readonly MLContext _ml;
    private readonly IDataView _data;

    public ValidationTests()
    {
        _ml = new MLContext(seed: 1).UseCluster(_backend);
        _data = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Fit(View(SyntheticData.Examples())).Transform(View(SyntheticData.Examples()));
    }

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    public void Fit_ManyWrongOptionsAndColumns_NamesAllBeforeReadingData()
    {
        var trainer = _ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            LabelColumnName = "Value",
            FeatureColumnName = "Nowhere",
            ExampleWeightColumnName = "Kind",
            Epochs = 0,
            BatchSize = -1,
            LearningRate = double.NaN,
            Dropout = 1,
            HiddenLayers = [8, 0],
            Activation = (NetworkActivation)7,
            CheckpointIntervalEpochs = -1,
            CheckpointInterval = TimeSpan.FromSeconds(-1),
            CheckpointsKept = 0,
            EarlyStopping = new EarlyStopping { PatienceEpochs = 0 },
            MinRanks = 4,
            MaxRanks = 2,
        });

        var message = Refuse<ArgumentException>(() => trainer.Fit(View(Unreadable())));

        string[] expected =
        [
            "Label column \"Value\" is a Single, expected a key. Map it with ml.Transforms.Conversion.MapValueToKey",
            "Feature column \"Nowhere\" is not in the data",
            "Weight column \"Kind\" is a String, expected a Single",
            "Epochs is 0",
            "BatchSize is -1",
            "LearningRate is NaN",
            "Dropout is 1",
            "HiddenLayers is [8, 0]",
            "Activation is 7, expected one of Relu, Gelu",
            "CheckpointIntervalEpochs is -1",
            "CheckpointInterval is -00:00:01",
            "CheckpointsKept is 0, expected at least 1",
            "EarlyStopping.Patience is 0",
            "EarlyStopping is on without validation data",
            "MinRanks is 4",
        ];
        foreach (var sentence in expected)
            StringAssert.Contains(message, sentence);
        Assert.AreEqual(0, _backend.DatasetFiles);
    }

    [TestMethod]
    public void Fit_ManyErrors_AreALineEach()
    {
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", Epochs = 0, Dropout = 2 });

        Assert.AreEqual(
            """
            DistributedRegressionTrainer cannot train:
            - Epochs is 0, expected at least 1.
            - Dropout is 2, expected a fraction from 0 to 0.999.
            """.ReplaceLineEndings(),
            Refuse<ArgumentException>(() => trainer.Fit(_data)));
    }

    [TestMethod]
    public void Trainer_ColumnsWithoutNames_NamesTheOptions()
    {
        var message = Refuse<ArgumentException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork(null!, "", ""));

        foreach (var name in new[] { "LabelColumnName is empty", "FeatureColumnName is empty", "ExampleWeightColumnName is empty, expected the name of a column of weights, or null" })
            StringAssert.Contains(message, name);
    }

    [TestMethod]
    public void Fit_LabelsAsWeights_AreRefused()
    {
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork("Value", exampleWeightColumnName: "Value");

        StringAssert.Contains(Refuse<ArgumentException>(() => trainer.Fit(_data)), "ExampleWeightColumnName is \"Value\", the label column");
    }

    [TestMethod]
    public void Fit_MoreFeaturesThanAMessageHolds_IsRefusedBeforeDataIsRead()
    {
        var schema = SchemaDefinition.Create(typeof(Example));
        schema[nameof(Example.Features)].ColumnType = new VectorDataViewType(NumberDataViewType.Single, 1 << 24);
        var data = _ml.Data.LoadFromEnumerable(Unreadable(), schema);
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", HiddenLayers = [] });

        StringAssert.Contains(Refuse<ArgumentException>(() => trainer.Fit(data)), "Features have 16,777,216 slots, expected at most 4,000,000 with NormalizeFeatures");
        Assert.AreEqual(0, _backend.DatasetFiles);
    }

    [TestMethod]
    public void Fit_ExtremeNumbers_AreRefusedEachWithItsRange()
    {
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options
        {
            LabelColumnName = "Value",
            Epochs = int.MaxValue,
            MaxAttempts = int.MaxValue,
            CheckpointsKept = int.MaxValue,
            MaxRanks = int.MaxValue,
            LearningRate = double.Epsilon,
            GradientClipNorm = double.NaN,
            QueueTimeout = TimeSpan.MinValue,
            CheckpointInterval = TimeSpan.MinValue,
        });

        var message = Refuse<ArgumentException>(() => trainer.Fit(View(Unreadable())));

        foreach (var name in new[] { "Epochs", "MaxAttempts", "CheckpointsKept", "MaxRanks", "LearningRate", "GradientClipNorm", "QueueTimeout", "CheckpointInterval" })
            StringAssert.Contains(message, $"- {name} is ");
    }

    [TestMethod]
    public void Fit_LargestTimesAndSizes_AreAJobThatTheRulesAccept()
    {
        _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options
        {
            LabelColumnName = "Value",
            BatchSize = int.MaxValue,
            MaxMicroBatchSize = int.MaxValue,
            Seed = int.MinValue,
            Priority = int.MinValue,
            QueueTimeout = TimeSpan.MaxValue,
            CheckpointInterval = TimeSpan.MaxValue,
            CheckpointIntervalEpochs = int.MaxValue,
        }).Fit(_data);

        Assert.IsEmpty(MLDistributed.Protocol.JobSpecRules.Validate(_backend.Jobs.Single()));
    }

    [TestMethod]
    public void Fit_OneRowWithAValidationFraction_IsRefused()
    {
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", ValidationFraction = 0.5 });

        StringAssert.Contains(Refuse<InvalidDataException>(() => trainer.Fit(View(SyntheticData.Examples(1)))), "has 1 row, expected at least 2 with ValidationFraction 0.5");
        Assert.IsEmpty(_backend.Files);
    }

    [TestMethod]
    public void UseCluster_Null_NamesTheArgument() =>
        Assert.AreEqual("cluster", Assert.ThrowsExactly<ArgumentNullException>(() => _ml.UseCluster((TrainingCluster)null!)).ParamName);

    [TestMethod]
    public void Fit_NullOptions_AreNamed()
    {
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", HiddenLayers = null!, Optimizer = null!, Schedule = null! });

        var message = Refuse<ArgumentException>(() => trainer.Fit(_data));

        foreach (var name in new[] { "HiddenLayers is null", "Optimizer is not set", "Schedule is null" })
            StringAssert.Contains(message, name);
    }

    [TestMethod]
    public void Fit_WrongColumnInPipeline_IsRefusedByTheSchema()
    {
        var pipeline = _ml.Transforms.CopyColumns("Same", "Features").Append(_ml.BinaryClassification.Trainers.DistributedNeuralNetwork("Kind"));

        StringAssert.Contains(Refuse<ArgumentException>(() => pipeline.Fit(_data)), "Label column \"Kind\" is a String, expected a Boolean");
        StringAssert.Contains(Refuse<ArgumentException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork("Key").Fit(_data)), "Label column \"Key\" is a key of UInt32, expected a Single");
    }

    [TestMethod]
    public void Fit_FeaturesOfVaryingSize_AreRefused()
    {
        var data = _ml.Data.LoadFromEnumerable(new[] { new { Features = new float[] { 1, 2 }, Label = 1f } });

        StringAssert.Contains(Refuse<ArgumentException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork().Fit(data)), "Feature column \"Features\" is a vector of Single of varying size, expected a vector of Single with a known size");
    }

    [TestMethod]
    public void Fit_ClassWeightsOfWrongNumber_AreRefused()
    {
        var trainer = _ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options { LabelColumnName = "Key", ClassWeights = [1, 2] });

        StringAssert.Contains(Refuse<ArgumentException>(() => trainer.Fit(_data)), "ClassWeights has 2 numbers, expected one for each of the 3 classes");
    }

    [TestMethod]
    public void Fit_ValidationSetWithMoreClasses_NamesTheFirst()
    {
        var more = SyntheticData.Examples();
        more.Add(new Example { Features = new float[4], Kind = "dog" });
        var validation = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Fit(View(more)).Transform(View(more));

        var message = Refuse<ArgumentException>(() => Multiclass(validation).Fit(_data));

        StringAssert.Contains(message, "has 4 classes (the first unknown one is \"dog\"), expected at most the training data's 3");
    }

    [TestMethod]
    public void Fit_ValidationSetWithOtherKeysOrColumns_IsRefused()
    {
        var reversed = SyntheticData.Examples().AsEnumerable().Reverse().ToList();
        var otherKeys = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Fit(View(reversed)).Transform(View(reversed));
        StringAssert.Contains(Refuse<ArgumentException>(() => Multiclass(otherKeys).Fit(_data)), "has the value \"cat\" as class 0, expected \"ant\"");

        StringAssert.Contains(Refuse<ArgumentException>(() => Multiclass(View(reversed)).Fit(_data)), "Validation set: label column \"Key\" is not in the data");

        var wider = _ml.Transforms.Concatenate("Features", "Features", "Value").Fit(_data).Transform(_data);
        StringAssert.Contains(Refuse<ArgumentException>(() => Multiclass(wider).Fit(_data)), "Validation set: feature column \"Features\" has 5 slots, expected 4");
        Assert.AreEqual(0, _backend.DatasetFiles);
    }

    [TestMethod]
    public void Fit_ValidationSetWithAnInfiniteValue_RemovesBothFiles()
    {
        var bad = SyntheticData.Examples(5);
        bad[2].Features[1] = float.PositiveInfinity;
        var validation = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Fit(View(SyntheticData.Examples())).Transform(View(bad));

        StringAssert.Contains(Refuse<InvalidDataException>(() => Multiclass(validation).Fit(_data)), "in slot 1 at row 2");

        Assert.AreEqual(2, _backend.DatasetFiles);
        Assert.IsEmpty(_backend.Files);
    }

    private DistributedMulticlassTrainer Multiclass(IDataView validation) =>
        _ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options { LabelColumnName = "Key", ValidationSet = validation });

    private IDataView View(IEnumerable<Example> rows) => _ml.Data.LoadFromEnumerable(rows);

    private string Refuse<T>(Action action)
        where T : Exception
    {
        var message = Assert.ThrowsExactly<T>(action).Message;
        Assert.IsEmpty(_backend.Jobs);
        return message;
    }

    private static IEnumerable<Example> Unreadable()
    {
        Assert.Fail("Data was read.");
        yield break;
    }
}
