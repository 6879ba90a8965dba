using System.Diagnostics;
using System.Globalization;
using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class SaveLoadTests : IDisposable
{
    private readonly FakeBackend _backend = new();
    private readonly string _folder = Directory.CreateTempSubdirectory("mldist-test-").FullName;
    private readonly MLContext _ml;
    private readonly IDataView _data;

    public SaveLoadTests()
    {
        _ml = new MLContext(seed: 1).UseCluster(_backend);
        _data = _ml.Data.LoadFromEnumerable(SyntheticData.Examples(30));
    }

    public void Dispose()
    {
        _backend.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    public static IEnumerable<object[]> Tasks => [[MlTask.Multiclass], [MlTask.Binary], [MlTask.Regression], [MlTask.Ranking]];

    [TestMethod]
    [DynamicData(nameof(Tasks))]
    public async Task Load_InAnAppThatKnowsMlNetAlone_ScoresTheSame(MlTask task)
    {
        var (modelPath, dataPath) = (Path.Combine(_folder, "model.zip"), Path.Combine(_folder, "data.idv"));
        var model = Pipeline(task).Fit(_data);
        _ml.Model.Save(model, _data.Schema, modelPath);
        await using (var stream = File.Create(dataPath))
            _ml.Data.SaveAsBinary(_data, stream);

        var start = new ProcessStartInfo(Environment.ProcessPath!, [ForeignApp.Verb, modelPath, dataPath]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        var error = process.StandardError.ReadToEndAsync(limit.Token);
        var lines = (await process.StandardOutput.ReadToEndAsync(limit.Token)).Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        await process.WaitForExitAsync(limit.Token);

        Assert.AreEqual(0, process.ExitCode, await error);
        Assert.AreEqual("False", lines[0], "the app must not have loaded our assembly by itself");
        Assert.AreEqual("True", lines[1]);
        var scored = model.Transform(_data);
        var expected = task == MlTask.Multiclass ? [.. scored.GetColumn<float[]>("Score").SelectMany(s => s)] : scored.GetColumn<float>("Score").ToArray();
        CollectionAssert.AreEqual(expected, lines[2].Split(' ').Select(s => float.Parse(s, CultureInfo.InvariantCulture)).ToArray());
    }

    [TestMethod]
    public void Load_SavedModel_KeepsOriginAndSummary()
    {
        var saved = _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);
        using var stream = new MemoryStream();
        _ml.Model.Save(saved, _data.Schema, stream);

        var loaded = (RegressionPredictionTransformer<NeuralNetworkRegressionModel>)Load(stream.ToArray());

        Assert.AreEqual((saved.Model.JobId, saved.Model.DatasetId, saved.Model.FeatureCount), (loaded.Model.JobId, loaded.Model.DatasetId, loaded.Model.FeatureCount));
        CollectionAssert.AreEqual(saved.Model.FeatureScales.ToArray(), loaded.Model.FeatureScales.ToArray());
        Assert.AreEqual(saved.Model.Summary.Duration, loaded.Model.Summary.Duration);
        Assert.AreEqual(new EpochSummary(1, 0.5, null), loaded.Model.Summary.History.Single());
        loaded.Dispose();
    }

    [TestMethod]
    public void Read_DamagedBytes_SaysSo()
    {
        var whole = Written(_ => { });
        CollectionAssert.AreEqual(Script.Model, Read(whole).Onnx);

        var flipped = whole.ToArray();
        flipped[^34] ^= 1;
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Read(flipped)).Message, "damaged (its checksum differs)");
        for (var length = 0; length < whole.Length; length += length < 200 ? 1 : 97)
            StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Read(whole[..length])).Message, "damaged");
    }

    [TestMethod]
    public void Read_ForgedParts_AreRefusedBeforeTheyAreUnpacked()
    {
        // Each claims two gigabytes that a zip makes of nothing.
        using var endless = new Endless([]);
        foreach (var prefix in new[] { new byte[] { 0xFF, 0xFF, 0xFF, 0xFF, 7 }, [3, .. "job"u8, 0xFF, 0xFF, 0xFF, 0x7F] })
        {
            StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => TrainedNetwork.Read(new BinaryReader(endless.After(prefix)))).Message, "damaged");
            Assert.IsLessThan(1 << 20, endless.Given);
        }

        var history = Written(parts => parts.Result.History.Add(Enumerable.Range(0, 1000).Select(_ => new EpochEnded())));
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Read(history)).Message, "more than the 3 epochs");
        var huge = Written(parts => parts.Spec.Module.Mlp.HiddenSizes.Add(Enumerable.Repeat(1, 100_000)));
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Read(huge)).Message, "100,001 hidden layers");
        var other = Written(parts => parts.Spec.Module.Mlp.HiddenSizes[0] = 29);
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Read(other)).Message, "cannot be used: Tensor 1 of the model");
    }

    private static TrainedNetwork Read(byte[] bytes) => TrainedNetwork.Read(new BinaryReader(new MemoryStream(bytes)));

    // What a file holds, written as by a network, but with anything in it.
    private static byte[] Written(Action<(JobSpec Spec, JobResult Result)> change)
    {
        var (spec, result) = (Script.Spec.Clone(), new JobResult { Epochs = 2 });
        var network = new TrainedNetwork(Script.Model, spec, result, "job");
        change((spec, result));
        using var stream = new MemoryStream();
        network.Write(new BinaryWriter(stream));
        return stream.ToArray();
    }

    [TestMethod]
    public void Load_NewerFormat_AsksForAnUpdate()
    {
        var saved = _ml.Regression.Trainers.DistributedNeuralNetwork("Value").Fit(_data);
        using var stream = new MemoryStream();
        _ml.Model.Save(saved, _data.Schema, stream);
        var newer = EditModel(stream.ToArray(), "MLDNNREG", bytes => (bytes[12], bytes[16]) = (9, 9));

        var error = Assert.Throws<Exception>(() => Load(newer));

        StringAssert.Contains(error.ToString(), "Update the package Microsoft.ML.Distributed");
    }

    private ITransformer Load(byte[] bytes)
    {
        var loaded = _ml.Model.Load(new MemoryStream(bytes), out _);
        return loaded is TransformerChain<ITransformer> chain ? chain.LastTransformer : loaded;
    }

    private IEstimator<ITransformer> Pipeline(MlTask task) => task switch
    {
        MlTask.Multiclass => _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork("Key")),
        MlTask.Binary => _ml.BinaryClassification.Trainers.DistributedNeuralNetwork(),
        MlTask.Ranking => _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Append(_ml.Ranking.Trainers.DistributedNeuralNetwork("Key", rowGroupColumnName: "Group")),
        _ => _ml.Regression.Trainers.DistributedNeuralNetwork("Value"),
    };

    // Finds the zip entry that has our signature (8 bytes after the model header's signature and its version) and edits its version.
    private static byte[] EditModel(byte[] zip, string signature, Action<byte[]> edit)
    {
        using var stream = new MemoryStream();
        stream.Write(zip);
        using (var archive = new System.IO.Compression.ZipArchive(stream, System.IO.Compression.ZipArchiveMode.Update, leaveOpen: true))
        {
            foreach (var entry in archive.Entries.Where(e => e.Name == "Model.key").ToList())
            {
                using var content = new MemoryStream();
                using (var reader = entry.Open())
                    reader.CopyTo(content);
                var bytes = content.ToArray();
                var at = bytes.AsSpan().IndexOf(System.Text.Encoding.ASCII.GetBytes(signature));
                if (at < 0)
                    continue;
                var part = bytes[(at - 4)..];
                edit(part);
                part.CopyTo(bytes, at - 4);
                using var writer = entry.Open();
                writer.Write(bytes);
            }
        }

        return stream.ToArray();
    }

    /// <summary>A beginning, and zeros behind it without an end.</summary>
    private sealed class Endless(byte[] start) : Stream
    {
        private byte[] _start = start;

        public long Given { get; private set; }

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public Endless After(byte[] prefix)
        {
            (_start, Given) = (prefix, 0);
            return this;
        }

        public override int Read(byte[] buffer, int offset, int count)
        {
            var known = Math.Min(count, Math.Max(0, _start.Length - (int)Math.Min(Given, int.MaxValue)));
            _start.AsSpan((int)Math.Min(Given, _start.Length), known).CopyTo(buffer.AsSpan(offset));
            buffer.AsSpan(offset + known, count - known).Clear();
            Given += count;
            return count;
        }

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
