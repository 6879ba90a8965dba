using System.Collections.Concurrent;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class DatasetEncoderTests : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"mldist-test-{Guid.NewGuid():N}.arrow");
    private readonly MLContext _ml = new(seed: 1);

    public void Dispose() => File.Delete(_path);

    [TestMethod]
    public void Encode_ManyBatches_KeepsRowsInOrderAndHashesThem()
    {
        var examples = SyntheticData.Examples(150_000);
        var result = Encode(_ml.Data.LoadFromEnumerable(examples), Regression with { Weight = "Weight" });

        var rows = FakeBackend.Read(_path);
        Assert.AreEqual((150_000L, 4, true), (result.Dataset.RowCount, result.Dataset.Shape.FeatureSize, result.Dataset.Shape.HasWeights));
        Assert.HasCount(150_000, rows);
        foreach (var (index, row) in rows.Index())
        {
            Assert.AreEqual((examples[index].Value, examples[index].Weight), (row.Label, row.Weight));
            Assert.IsTrue(examples[index].Features.AsSpan().SequenceEqual(row.Features));
        }

        Assert.AreEqual(Hash(_path, out var batches), result.Dataset.Id.Text);
        CollectionAssert.AreEqual(new[] { 65_536, 65_536, 150_000 - (2 * 65_536) }, batches);
    }

    [TestMethod]
    public void Encode_SparseFeatures_AreDense()
    {
        var result = Encode(_ml.Data.LoadFromEnumerable(
            [new SparseRow { Features = new VBuffer<float>(5, 2, [7, -1], [1, 4]), Value = 1 }, new SparseRow { Features = new VBuffer<float>(5, 0, [], []), Value = 2 }]), Regression, 5);

        var rows = FakeBackend.Read(_path);
        CollectionAssert.AreEqual(new float[] { 0, 7, 0, 0, -1 }, rows[0].Features);
        CollectionAssert.AreEqual(new float[5], rows[1].Features);
        Assert.AreEqual(3.5, result.Features.Mean(1));
    }

    [TestMethod]
    public void Encode_Bytes_AreAByteEach()
    {
        var rows = Enumerable.Range(0, 1000).Select(i => new Example { Features = [i % 256, 255, 0, (i * 7) % 256], Value = i }).ToList();
        var result = Encode(_ml.Data.LoadFromEnumerable(rows), Regression, element: FeatureElement.UInt8);

        Assert.AreEqual(FeatureElement.UInt8, result.Dataset.Shape.Element);
        foreach (var (index, row) in FakeBackend.Read(_path).Index())
            CollectionAssert.AreEqual(rows[index].Features, row.Features);
        Assert.AreEqual(Hash(_path, out _), result.Dataset.Id.Text);
        Assert.IsLessThan(1000 * (4 + sizeof(float)) + 2000, new FileInfo(_path).Length);
    }

    [TestMethod]
    [DataRow(256f), DataRow(-1f), DataRow(0.5f), DataRow(float.NaN), DataRow(float.PositiveInfinity)]
    public void Encode_BytesThatAreNone_NamesSlotAndRow(float value)
    {
        var rows = Enumerable.Range(0, 20).Select(i => new Example { Features = [0, 1, i == 17 ? value : 2, 3], Value = i });

        var e = Assert.ThrowsExactly<InvalidDataException>(() => Encode(_ml.Data.LoadFromEnumerable(rows), Regression, element: FeatureElement.UInt8));

        StringAssert.StartsWith(e.Message, $"Feature column \"Features\" is {value} in slot 2 at row 17, expected a whole number from 0 to 255.");
    }

    [TestMethod]
    public void Encode_MissingConstantAndLargeValues_HaveStableStatistics()
    {
        var random = new Random(4);
        const int Count = 70_000;
        var rows = Enumerable.Range(0, Count).Select(i => new Example
        {
            Features = [1e6f + random.NextSingle(), i % 5 == 0 ? float.NaN : i % 7, 3.25f, float.NaN],
            Value = 42,
        }).ToList();

        var result = Encode(_ml.Data.LoadFromEnumerable(rows), Regression);

        for (var slot = 0; slot < 2; slot++)
        {
            var present = rows.Select(r => (double)r.Features[slot]).Where(v => !double.IsNaN(v)).ToArray();
            var mean = present.Average();
            Assert.AreEqual(mean, result.Features.Mean(slot), 1e-9 * mean);
            Assert.AreEqual(Math.Sqrt(present.Average(v => (v - mean) * (v - mean))), result.Features.Deviation(slot), 1e-9);
        }

        var scaling = result.Features.ToScaling();
        Assert.AreEqual((3.25f, 0f), (scaling.Mean[2], scaling.Scale[2]));
        Assert.AreEqual((0f, 0f), (scaling.Mean[3], scaling.Scale[3]));
        Assert.AreEqual((42f, 1f), (result.Labels.ToScaling().Mean, result.Labels.ToScaling().Scale));
    }

    [TestMethod]
    public void Encode_BadRow_IsNamedAndLeavesNoFile()
    {
        (Action<List<Example>> Change, TrainingColumns Columns, string Message)[] cases =
        [
            (e => e.Clear(), Regression, "Training data has no rows"),
            (e => e[7].Features[2] = float.NegativeInfinity, Regression, "Feature column \"Features\" is -Infinity in slot 2 at row 7"),
            (e => e.ForEach(x => x.Value = float.NaN), Regression, "no row that counts, expected at least one: of 12 rows, 12 have no label in column \"Value\""),
            (e => e[4].Value = float.PositiveInfinity, Regression, "Label column \"Value\" is Infinity at row 4"),
            (e => e[5].Weight = -1, Regression with { Weight = "Weight" }, "Weight column \"Weight\" is -1 at row 5"),
            (e => e[6].Weight = float.PositiveInfinity, Regression with { Weight = "Weight" }, "Weight column \"Weight\" is Infinity at row 6"),
            (e => e.ForEach(x => x.Weight = float.NaN), Regression with { Weight = "Weight" }, "of 12 rows, 12 have no weight in column \"Weight\""),
            (e => e.ForEach(x => x.Weight = 0), Regression with { Weight = "Weight" }, "of 12 rows, 12 weigh 0 by column \"Weight\" or their class"),
            (e => (e[0].Weight, e[1].Weight) = (1e-20f, 1e3f), Regression with { Weight = "Weight" }, "Training data has rows that weigh 1E-20 and 1E+03, expected weights that differ by at most 1E+20 times"),
            (e => e.ForEach(x => x.Weight = x.Label ? 1 : 0), new(MlTask.Binary, "Features", "Label", "Weight"), "has the same class in all 4 rows that count"),
            (e => e.ForEach(x => x.Label = true), new(MlTask.Binary, "Features", "Label", null), "has the same class in all 12 rows"),
        ];
        foreach (var (change, columns, message) in cases)
        {
            var examples = SyntheticData.Examples(12);
            change(examples);
            var error = Assert.ThrowsExactly<InvalidDataException>(() => Encode(_ml.Data.LoadFromEnumerable(examples), columns));
            StringAssert.Contains(error.Message, message);
            Assert.IsFalse(File.Exists(_path));
        }
    }

    [TestMethod]
    public void Encode_RowsWithoutLabelOrWeight_AreLeftOutAndCounted()
    {
        var examples = SyntheticData.Examples(12);
        examples[1].Value = float.NaN;
        examples[1].Features[0] = float.PositiveInfinity; // of no interest any more
        examples[4].Value = float.NaN;
        examples[4].Weight = float.NaN;
        examples[6].Weight = float.NaN;
        examples[7].Weight = 0;
        var warnings = new ConcurrentQueue<string>();
        _ml.Log += (_, e) => { if (e.Kind == ChannelMessageKind.Warning) warnings.Enqueue(e.RawMessage); };

        var result = Encode(_ml.Data.LoadFromEnumerable(examples), Regression with { Weight = "Weight" });

        Assert.AreEqual(8, result.Dataset.RowCount);
        int[] kept = [0, 2, 3, 5, 8, 9, 10, 11];
        CollectionAssert.AreEqual(kept.Select(i => examples[i].Value).ToArray(), FakeBackend.Read(_path).Select(r => r.Label).ToArray());
        Assert.AreEqual(kept.Average(i => (double)examples[i].Features[0]), result.Features.Mean(0), 1e-6);
        Assert.AreEqual(kept.Average(i => (double)examples[i].Value), result.Labels.Mean, 1e-6);
        Assert.AreEqual("Training data: 2 have no label in column \"Value\", 1 have no weight in column \"Weight\", 1 weigh 0 by column \"Weight\" or their class; left out. 8 rows remain.", warnings.Single());
    }

    [TestMethod]
    public void Encode_MissingKeys_AreLeftOutOfEverySet()
    {
        var known = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Fit(_ml.Data.LoadFromEnumerable(SyntheticData.Examples()));
        var examples = SyntheticData.Examples(12);
        examples[9].Kind = "dog";
        var columns = new TrainingColumns(MlTask.Multiclass, "Features", "Key", null);

        Assert.AreEqual(11, Encode(known.Transform(_ml.Data.LoadFromEnumerable(examples)), columns, classCount: 3).Dataset.RowCount);
        Assert.AreEqual(11, Encode(known.Transform(_ml.Data.LoadFromEnumerable(examples)), columns, classCount: 3, isTraining: false).Dataset.RowCount);

        examples.ForEach(e => e.Kind = "dog");
        var error = Assert.ThrowsExactly<InvalidDataException>(() => Encode(known.Transform(_ml.Data.LoadFromEnumerable(examples)), columns, classCount: 3, isTraining: false));
        StringAssert.StartsWith(error.Message, "Validation set has no row that counts, expected at least one: of 12 rows, 12 have no label in column \"Key\"");
    }

    [TestMethod]
    public void Encode_ClassesOfWeightZero_AreLeftOut()
    {
        var columns = new TrainingColumns(MlTask.Multiclass, "Features", "Key", null);
        var data = _ml.Data.LoadFromEnumerable(SyntheticData.Examples(12));
        var keyed = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Fit(data).Transform(data);

        var result = Encode(keyed, columns, classCount: 3, classWeights: [0, 1, 7]);

        Assert.AreEqual(8, result.Dataset.RowCount);
        // Of eight rows one and seven by weight, and half a row more each.
        Assert.AreEqual(Math.Log(7.5 / 1.5), result.Labels.ToOutputBias()[2] - result.Labels.ToOutputBias()[1], 1e-5);
        Assert.AreEqual(0.25, result.Weights.ToScale());
        StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => Encode(keyed, columns, classCount: 3, classWeights: [1e-30f, 1, 1])).Message, "1E-30 and 1 with the weights of their classes");
    }

    [TestMethod, DataRow(1f, 1.0), DataRow(3f, 0.5), DataRow(1e-30f, 1.2676506002282294e30), DataRow(1e-40f, 1.0889035741470031e40), DataRow(float.Epsilon, 7.1362384635297994e44), DataRow(3e38f, 5.8774717541114375e-39)]
    public void Encode_WeightsOfAnyUnit_AreScaledToOne(float unit, double scale)
    {
        var examples = SyntheticData.Examples(12);
        examples.ForEach(e => e.Weight = unit);

        var weights = Encode(_ml.Data.LoadFromEnumerable(examples), Regression with { Weight = "Weight" }).Weights;

        Assert.AreEqual(scale, weights.ToScale());
        Assert.AreEqual(unit, FakeBackend.Read(_path)[0].Weight);
    }

    [TestMethod]
    public void ToScaling_LabelsOutOfRange_AreRefusedAndConstantsAreNot()
    {
        foreach (var unit in new[] { float.Epsilon, 1e-40f, 1e-37f, 1e-32f, 3e37f })
            StringAssert.Contains(Assert.ThrowsExactly<InvalidDataException>(() => LabelsOf(unit)).Message, "Label column \"Value\" has a standard deviation of");
        foreach (var unit in new[] { 1e-30f, 1e-10f, 1f, 1e30f, 1e36f })
            Assert.AreEqual(1 / (0.5 * unit), LabelsOf(unit).Scale, 1e-4 / unit);

        LabelScaling LabelsOf(float unit)
        {
            var examples = SyntheticData.Examples(12);
            for (var i = 0; i < examples.Count; i++)
                examples[i].Value = (i % 2) * unit;
            return Encode(_ml.Data.LoadFromEnumerable(examples), Regression).Labels.ToScaling();
        }
    }

    [TestMethod]
    public void ToScaling_FeaturesOutOfRange_AreConstantsAndNamed()
    {
        var examples = SyntheticData.Examples(12);
        for (var i = 0; i < examples.Count; i++)
            examples[i].Features = [(i % 2) * 1e-37f, (i % 2) * 1e-40f, (i % 2) * 1e38f, i % 2];

        var features = Encode(_ml.Data.LoadFromEnumerable(examples), Regression).Features;

        CollectionAssert.AreEqual(new[] { 0, 1, 2 }, features.OutOfRange().ToArray());
        CollectionAssert.AreEqual(new float[] { 0, 0, 0, 2 }, features.ToScaling().Scale.ToArray());
    }

    [TestMethod]
    public void Encode_InfiniteNamedSlot_GivesItsName()
    {
        var data = _ml.Data.LoadFromEnumerable(new[] { new { Age = 1f, Height = float.PositiveInfinity, Value = 1f } });
        var named = _ml.Transforms.Concatenate("Features", "Age", "Height").Fit(data).Transform(data);

        var error = Assert.ThrowsExactly<InvalidDataException>(() => Encode(named, Regression, 2));

        StringAssert.Contains(error.Message, "in slot 1 (\"Height\") at row 0");
    }

    [TestMethod]
    public void Encode_RowOfAnotherSize_IsRefused()
    {
        var rows = new List<SparseRow> { new() { Features = new VBuffer<float>(5, [1, 2, 3, 4, 5]) }, new() { Features = new VBuffer<float>(3, [1, 2, 3]) } };
        var schema = SchemaDefinition.Create(typeof(SparseRow));

        var error = Assert.Throws<Exception>(() => Encode(_ml.Data.LoadFromEnumerable(rows, schema), Regression, 5));

        // ML.NET's own check comes first for enumerables.
        StringAssert.Contains(error.ToString(), "5");
        Assert.IsFalse(File.Exists(_path));
    }

    [TestMethod]
    [DoNotParallelize]
    public void Encode_HundredsOfMegabytes_KeepsTheHeapFlat()
    {
        const int Size = 1024;
        var data = new GeneratedData(rows: 65_536, Size);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        var allocated = GC.GetTotalAllocatedBytes(precise: true);

        var result = Encode(data, Regression, Size);

        Assert.AreEqual(65_536, result.Dataset.RowCount);
        Assert.IsGreaterThan(256L << 20, new FileInfo(_path).Length);
        Assert.IsLessThan(64L << 20, data.PeakMemory - before, "managed heap");
        Assert.IsLessThan(64L << 20, GC.GetTotalAllocatedBytes(precise: true) - allocated, "allocated");
    }

    private static TrainingColumns Regression => new(MlTask.Regression, "Features", "Value", null);

    [TestMethod]
    public void Encode_FullDisk_NamesFileAndRemedyAndLeavesNothing()
    {
        if (!File.Exists("/dev/full"))
            Assert.Inconclusive("This system has no /dev/full, the disk that is always full.");
        File.CreateSymbolicLink(_path, "/dev/full");

        var e = Assert.ThrowsExactly<IOException>(() => Encode(_ml.Data.LoadFromEnumerable(SyntheticData.Examples(10)), Regression));

        StringAssert.StartsWith(e.Message, "Dataset file cannot be written up to row ");
        StringAssert.Contains(e.Message, _path);
        StringAssert.Contains(e.Message, "TMPDIR");
        Assert.IsFalse(Path.Exists(_path));
    }

    [TestMethod]
    public void Encode_LongData_TellsHowFarItIs()
    {
        var told = new List<TrainingProgress>();
        using var channel = ((IChannelProvider)_ml).Start("test");
        var encoder = new DatasetEncoder(Regression, 4, 1, channel, new SlowClock(), new Listener(told));

        encoder.Encode(_ml.Data.LoadFromEnumerable(SyntheticData.Examples(150_000)), _path, isTraining: true, CancellationToken.None);

        CollectionAssert.AreEqual(new[] { "65,536 of 150,000 rows read", "131,072 of 150,000 rows read" }, told.Select(p => p.Message).ToArray());
        Assert.IsTrue(told.All(p => p.State == TrainingState.Encoding));
        Assert.AreEqual(65_536 / 150_000.0, told[0].Fraction);
    }

    private sealed class SlowClock : TimeProvider
    {
        private long _ticks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks += TimeSpan.TicksPerSecond;
    }

    private sealed class Listener(List<TrainingProgress> told) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => told.Add(value);
    }

    private EncodingResult Encode(IDataView data, TrainingColumns columns, int size = 4, int classCount = 1, bool isTraining = true, float[]? classWeights = null, FeatureElement element = FeatureElement.Float32)
    {
        using var channel = ((IChannelProvider)_ml).Start("test");
        return new DatasetEncoder(columns, size, classCount, channel, TimeProvider.System, null, classWeights, element).Encode(data, _path, isTraining, CancellationToken.None);
    }

    private static string Hash(string path, out int[] batches)
    {
        using var reader = new Apache.Arrow.Ipc.ArrowFileReader(File.OpenRead(path));
        using var hasher = new DatasetHasher(DatasetSchema.Read(reader.Schema));
        var sizes = new List<int>();
        while (reader.ReadNextRecordBatch() is { } batch)
        {
            hasher.Append(batch);
            sizes.Add(batch.Length);
        }

        batches = [.. sizes];
        return hasher.Complete().Text;
    }

    private sealed class SparseRow
    {
        [VectorType(5)]
        public VBuffer<float> Features { get; set; }

        public float Value { get; set; }
    }
}
