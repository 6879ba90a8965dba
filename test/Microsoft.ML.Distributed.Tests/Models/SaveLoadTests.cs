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

    public static IEnumerable<object[]> Tasks => [[MlTask.Multiclass], [MlTask.Binary], [MlTask.Regression]];

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
        using var stream = new MemoryStream();
        new TrainedNetwork([1, 2, 3, 4], new JobSpec { Name = "n" }, new JobResult { Epochs = 2 }, "job").Write(new BinaryWriter(stream));
        var whole = stream.ToArray();
        CollectionAssert.AreEqual(new byte[] { 1, 2, 3, 4 }, Read(whole).Onnx);

        var flipped = whole.ToArray();
        flipped[^34] ^= 1;
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Read(flipped)).Message, "damaged (its checksum differs)");
        for (var length = 0; length < whole.Length; length++)
            StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Read(whole[..length])).Message, "damaged");

        static TrainedNetwork Read(byte[] bytes) => TrainedNetwork.Read(new BinaryReader(new MemoryStream(bytes)));
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
}
