using System.Collections.Concurrent;
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
            ValidationFraction = 0,
            MinRanks = 4,
            MaxRanks = 2,
        });

        var message = Refuse<ArgumentException>(() => trainer.Fit(View(Unreadable())));

        string[] expected =
        [
            "Label column \"Value\" is a Single, expected a key. Map it with ml.Transforms.Conversion.MapValueToKey(\"Value\")",
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

        StringAssert.Contains(Refuse<InvalidDataException>(() => trainer.Fit(View(SyntheticData.Examples(1)))), "has 1 row that counts, expected at least 2 with ValidationFraction 0.5");
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

        StringAssert.Contains(message, "has 4 classes (the first unknown one is \"dog\"), expected at most 3, as in the training data");
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
    public void Fit_ValidationSetWithOtherKeysOfAnyType_IsRefused()
    {
        var at = new DateTime(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc);
        Check("text", i => $"{i}");
        Check("characters", i => $"{i}".AsMemory());
        Check("bool", i => i > 0);
        Check("byte", i => (byte)i);
        Check("sbyte", i => (sbyte)-i);
        Check("short", i => (short)-i);
        Check("ushort", i => (ushort)i);
        Check("int", i => -i);
        Check("uint", i => (uint)i);
        Check("long", i => (long)-i);
        Check("ulong", i => (ulong)i);
        Check("float", i => i / 2f);
        Check("double", i => i / 2.0);
        Check("time", i => TimeSpan.FromHours(i));
        Check("date", i => at.AddDays(i));
        Check("offset", i => new DateTimeOffset(at).AddDays(i));
        Check("row id", i => new DataViewRowId((ulong)i, 0));

        void Check<T>(string what, Func<int, T> value)
        {
            var jobs = _backend.Jobs.Count;
            var (first, second) = (Keyed([value(0), value(1)]), Keyed([value(1), value(0)]));
            var message = Assert.ThrowsExactly<ArgumentException>(() => Multiclass(second).Fit(first), what).Message;
            StringAssert.Contains(message, "Validation set: label column \"Key\" has the value \"", what);
            Multiclass(Keyed([value(0), value(1), value(1)])).Fit(first);
            Assert.HasCount(jobs + 1, _backend.Jobs, what);
        }
    }

    [TestMethod]
    public void Fit_ValidationSetWhoseKeysCannotBeCompared_IsRefused()
    {
        var (texts, numbers) = (Keyed(["0", "1"]), Keyed([0, 1]));
        var bare = View(new BareKey { Key = 0, Features = [1, 2] }, new BareKey { Key = 1, Features = [3, 5] });
        var more = View(new MoreKeys { Key = 1, Features = [1, 2] });

        StringAssert.Contains(Refuse<ArgumentException>(() => Multiclass(numbers).Fit(texts)), "has key values of Int32, expected key values of String as in the training data");
        StringAssert.Contains(Refuse<ArgumentException>(() => Multiclass(bare).Fit(texts)), "has no key values, expected key values of String as in the training data");
        StringAssert.Contains(Refuse<ArgumentException>(() => Multiclass(texts).Fit(bare)), "has key values of String, expected no key values as in the training data");
        StringAssert.Contains(Refuse<ArgumentException>(() => Multiclass(more).Fit(bare)), "has 3 classes without key values, expected 2 as in the training data");
        StringAssert.Contains(Refuse<ArgumentException>(() => Multiclass(bare).Fit(more)), "has 2 classes without key values, expected 3 as in the training data");
        Multiclass(bare).Fit(bare);
        Assert.HasCount(1, _backend.Jobs);

        IDataView View<T>(params T[] rows)
            where T : class => _ml.Data.LoadFromEnumerable(rows);
    }

    [TestMethod]
    public void Fit_ValidationSetWithFewerKeysInTheSameOrder_IsAccepted()
    {
        Multiclass(Keyed([5, 6])).Fit(Keyed([5, 6, 7]));
        Assert.HasCount(1, _backend.Jobs);
    }

    [TestMethod]
    public void Fit_ValidationSetWithOtherSlots_IsRefused()
    {
        var data = _ml.Data.LoadFromEnumerable(new[] { new { A = 1f, B = 2f, Value = 3f }, new { A = 2f, B = 5f, Value = 4f } });
        IDataView Slots(params string[] columns) => _ml.Transforms.Concatenate("Features", columns).Fit(data).Transform(data);
        void Fit(IDataView training, IDataView validation) => _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", ValidationSet = validation }).Fit(training);

        StringAssert.Contains(Refuse<ArgumentException>(() => Fit(Slots("A", "B"), Slots("B", "A"))), "Validation set: feature column \"Features\" has \"B\" in slot 0, expected \"A\" as in the training data");

        Fit(Slots("A", "B"), Slots("A", "B"));
        Fit(Slots("A", "B"), _ml.Data.LoadFromEnumerable(new[] { new Example2 { Features = [1, 2] } })); // no names
        Assert.HasCount(2, _backend.Jobs);
    }

    [TestMethod]
    public void Fit_WrongJobNameOrClassWeights_AreRefused()
    {
        void Fit(Action<DistributedBinaryTrainer.Options> change)
        {
            var options = new DistributedBinaryTrainer.Options();
            change(options);
            _ml.BinaryClassification.Trainers.DistributedNeuralNetwork(options).Fit(_data);
        }

        StringAssert.Contains(Refuse<ArgumentException>(() => Fit(o => o.JobName = " ")), "JobName is blank");
        StringAssert.Contains(Refuse<ArgumentException>(() => Fit(o => o.JobName = new string('n', 201))), "JobName has 201 characters");
        StringAssert.Contains(Refuse<ArgumentException>(() => Fit(o => o.JobName = "a\tb")), "JobName has the control character U+0009");
        StringAssert.Contains(Refuse<ArgumentException>(() => Fit(o => o.ClassWeights = [2])), "ClassWeights has 1 numbers, expected one for each of the 2 classes");
        StringAssert.Contains(Refuse<ArgumentException>(() => Fit(o => o.ClassWeights = [1, -1])), "ClassWeights has a negative");
        StringAssert.Contains(Refuse<ArgumentException>(() => Fit(o => o.ClassWeights = [1, float.NaN])), "ClassWeights has a negative");
        StringAssert.Contains(Refuse<InvalidDataException>(() => Fit(o => o.ClassWeights = [0, 1])), "has the same class in all 50 rows that count");
    }

    [TestMethod]
    public void Fit_OnlyOneRowWeighs_IsRefusedWithAValidationFraction()
    {
        var examples = SyntheticData.Examples(100);
        for (var i = 0; i < examples.Count; i++)
            examples[i].Weight = i == 40 ? 1e-40f : 0;
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", ExampleWeightColumnName = "Weight", ValidationFraction = 0.1 });

        StringAssert.Contains(Refuse<InvalidDataException>(() => trainer.Fit(View(examples))), "has 1 row that counts");
    }

    [TestMethod]
    public void Fit_ValidationWeightsOfAnotherUnit_HaveTheirOwnScale()
    {
        var (training, validation) = (SyntheticData.Examples(12), SyntheticData.Examples(12));
        training.ForEach(e => e.Weight = 1e-40f);
        validation.ForEach(e => e.Weight = 1e30f);
        _ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", ExampleWeightColumnName = "Weight", ValidationSet = View(validation) }).Fit(View(training));

        var data = _backend.Jobs.Single().Data;
        Assert.AreEqual((Math.ScaleB(1, 133), Math.ScaleB(1, -99)), (data.WeightScale, data.ValidationWeightScale));
    }

    [TestMethod]
    public void Fit_ConstantOrLostColumns_Warns()
    {
        var warnings = new ConcurrentQueue<string>();
        _ml.Log += (_, e) => { if (e.Kind == Runtime.ChannelMessageKind.Warning) warnings.Enqueue(e.RawMessage); };
        var examples = SyntheticData.Examples(12);
        examples.ForEach(e => (e.Value, e.Features[1]) = (42, e.Features[1] * 1e-39f));
        _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(View(examples));

        Assert.HasCount(2, warnings);
        StringAssert.Contains(warnings.ElementAt(0), "in slot 1, out of the range");
        Assert.AreEqual("Label column \"Value\" is 42 in all rows: so will the predictions be.", warnings.ElementAt(1));
    }

    private IDataView Keyed<T>(T[] values)
    {
        var data = _ml.Data.LoadFromEnumerable(values.Select((v, i) => new KeyedRow<T> { Value = v, Features = [i, i * i] }).ToList());
        return _ml.Transforms.Conversion.MapValueToKey("Key", "Value").Fit(data).Transform(data);
    }

    private sealed class KeyedRow<T>
    {
        public T Value { get; set; } = default!;

        [VectorType(2)]
        public float[] Features { get; set; } = [];
    }

    private sealed class BareKey
    {
        [KeyType(2)]
        public uint Key { get; set; }

        [VectorType(2)]
        public float[] Features { get; set; } = [];
    }

    private sealed class MoreKeys
    {
        [KeyType(3)]
        public uint Key { get; set; }

        [VectorType(2)]
        public float[] Features { get; set; } = [];
    }

    private sealed class Example2
    {
        public float Value { get; set; }

        [VectorType(2)]
        public float[] Features { get; set; } = [];
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
