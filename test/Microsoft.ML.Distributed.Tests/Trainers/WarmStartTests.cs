using System.Collections.Concurrent;
using System.Security.Cryptography;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>What a training starts from means the same as where it was trained, or is refused before data is read.</summary>
[TestClass]
public sealed class WarmStartTests : IDisposable
{
    private readonly Random _random = new(5);
    private readonly FakeBackend _backend = new();
    private readonly MLContext _ml;
    private readonly IDataView _data;

    public WarmStartTests()
    {
        _ml = new MLContext(seed: 1).UseCluster(_backend);
        _data = _ml.Data.LoadFromEnumerable(SyntheticData.Examples());
        _backend.Weights = mlp => RandomNetworks.Weights(_random, mlp);
    }

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    [DataRow("transformer"), DataRow("model"), DataRow("file")]
    public void Fit_StartFrom_SendsTheModelAndTakesOverItsScaling(string given)
    {
        var first = _ml.Regression.Trainers.DistributedNeuralNetwork(Regression()).Fit(_data);
        var other = _ml.Data.LoadFromEnumerable(SyntheticData.Examples(60, seed: 9).Select(e => { e.Value *= 3; return e; }).ToList());
        var options = Regression();
        options.StartFrom = given switch { "model" => first.Model, "file" => Reloaded(first), _ => first };

        StartedModelComesBack();
        var second = _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(other);

        var (job, file) = (_backend.Jobs[^1], _backend.JobFiles[^1].Single());
        using var onnx = new MemoryStream();
        first.Model.SaveOnnx(onnx);
        CollectionAssert.AreEqual(onnx.ToArray(), file.Content.ToArray(), "A file that the cluster that made it has.");
        Assert.AreEqual((Convert.ToHexStringLower(SHA256.HashData(onnx.ToArray())), onnx.Length), (job.StartFrom.ModelId, job.StartFrom.SizeBytes));
        Assert.AreEqual((_backend.Jobs[0].Data.Features, _backend.Jobs[0].Data.Label), (job.Data.Features, job.Data.Label));
        CollectionAssert.AreEqual(first.Transform(other).GetColumn<float>("Score").ToArray(), second.Transform(other).GetColumn<float>("Score").ToArray());
        Assert.IsEmpty(_backend.JobFiles[0]);
    }

    [TestMethod]
    [DataRow(false), DataRow(true, DisplayName = "read from its file")]
    public void Fit_StartFromClassesInAnotherOrder_PutsTheOutputsInTheirs(bool isReloaded)
    {
        var first = Pipeline(new() { HiddenLayers = [6] }).Fit(_data);
        // Keys count in the order in which they come.
        var reversed = _ml.Data.LoadFromEnumerable(SyntheticData.Examples(60, seed: 9).OrderByDescending(e => e.Kind).ToList());

        StartedModelComesBack();
        var second = Pipeline(new() { HiddenLayers = [6], StartFrom = isReloaded ? Reloaded(first) : first }).Fit(reversed);

        CollectionAssert.AreEqual(Kinds(first), Kinds(second));
        CollectionAssert.AreNotEqual(Keys(first), Keys(second), "The order is another, or the test shows nothing.");

        string[] Kinds(ITransformer model) => [.. model.Transform(reversed).GetColumn<ReadOnlyMemory<char>>("PredictedKind").Select(k => k.ToString())];
        uint[] Keys(ITransformer model) => [.. model.Transform(reversed).GetColumn<uint>("PredictedLabel")];
    }

    [TestMethod]
    public void Fit_StartFromAnotherNetwork_TellsEveryMismatchBeforeDataIsRead()
    {
        var options = new DistributedMulticlassTrainer.Options { HiddenLayers = [6, 5], LabelColumnName = "Key" };
        var first = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options)).Fit(_data);
        var other = _ml.Data.LoadFromEnumerable(SyntheticData.Examples(60).Select(e => new Narrow { Features = [1, 2], Kind = e.Kind == "cat" ? "dog" : e.Kind }).ToList());
        (options.HiddenLayers, options.Activation, options.Normalization, options.NormalizeFeatures, options.StartFrom) = ([6], NetworkActivation.Gelu, NetworkNormalization.Layer, false, first);
        var files = _backend.DatasetFiles;

        var message = Refusal(() => _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options)).Fit(other));

        foreach (var expected in (string[])
        [
            "StartFrom has HiddenLayers [6, 5], expected [6] as in these options.",
            "StartFrom has Activation Relu, expected Gelu",
            "StartFrom has Normalization None, expected Layer",
            "StartFrom has NormalizeFeatures True, expected False",
            "StartFrom has 4 features, expected 2, the slots of feature column \"Features\".",
            "StartFrom has 3 classes, expected the 3 of label column \"Key\", which lacks \"cat\" and also has \"dog\".",
        ])
            StringAssert.Contains(message, expected);
        Assert.AreEqual(files, _backend.DatasetFiles);
    }

    [TestMethod]
    public void Fit_StartFromWhatIsNoSuchNetwork_IsRefused()
    {
        var binary = _ml.BinaryClassification.Trainers.DistributedNeuralNetwork(new DistributedBinaryTrainer.Options { HiddenLayers = [6] }).Fit(_data);
        var multiclass = _ml.Transforms.Conversion.MapValueToKey("Key", "Kind").Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options { HiddenLayers = [6], LabelColumnName = "Key" })).Fit(_data);

        StringAssert.Contains(Refuse(binary), "StartFrom is a network for binary, expected one for regression.");
        StringAssert.Contains(Refuse("model.zip"), "StartFrom is a String without a distributed neural network, expected the transformer that Fit");
        StringAssert.Contains(Refuse(_ml.Transforms.CopyColumns("a", "Value").Fit(_data)), "without a distributed neural network");
        StringAssert.Contains(Refuse(binary.Append(multiclass)), "StartFrom is a chain with 2 distributed neural networks");
        var alone = ((ISingleFeaturePredictionTransformer<object>)((IEnumerable<ITransformer>)Reloaded(multiclass)).Last()).Model;
        StringAssert.Contains(
            Refusal(() => Pipeline(new() { HiddenLayers = [6], StartFrom = alone }).Fit(_data)),
            "StartFrom is a model without its transformer, which knows the values of its 3 classes, expected the transformer itself.");

        string Refuse(object given)
        {
            var options = Regression();
            options.StartFrom = given;
            return Refusal(() => _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(_data));
        }
    }

    [TestMethod]
    public void Fit_StartFromDataOfOtherSlots_IsRefused()
    {
        var first = _ml.Transforms.Concatenate("All", "Weight", "Value").Append(_ml.BinaryClassification.Trainers.DistributedNeuralNetwork(new DistributedBinaryTrainer.Options { FeatureColumnName = "All", HiddenLayers = [6] })).Fit(_data);

        var message = Refusal(() => _ml.Transforms.Concatenate("All", "Value", "Weight").Append(_ml.BinaryClassification.Trainers.DistributedNeuralNetwork(
            new DistributedBinaryTrainer.Options { FeatureColumnName = "All", HiddenLayers = [6], StartFrom = first })).Fit(_data));

        StringAssert.Contains(message, "Training data: feature column \"All\" has \"Value\" in slot 0, expected \"Weight\" as in the data of StartFrom.");
    }

    [TestMethod]
    public void Fit_StartFromAConstantFeature_WarnsThatItIsIgnored()
    {
        var messages = new ConcurrentQueue<string>();
        _ml.Log += (_, e) => messages.Enqueue($"{e.Kind}: {e.Message}");
        var constant = _ml.Data.LoadFromEnumerable(SyntheticData.Examples().Select(e => { e.Features[2] = 7; return e; }).ToList());
        var options = Regression();
        options.StartFrom = _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(constant);

        StartedModelComesBack();
        _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(_data);

        Assert.IsTrue(messages.Any(m => m.StartsWith("Warning", StringComparison.Ordinal) && m.Contains("was constant in slot 2 where the network of StartFrom was trained, which ignores it", StringComparison.Ordinal)), string.Join("\n", messages));
    }

    // Its numbers are on the same scale whatever they mean, so that no statistics tell.
    [TestMethod]
    [DataRow("anew", true)]
    [DataRow("anew on the same data", false)]
    [DataRow("kept", false)]
    [DataRow("kept, then shuffled", false)]
    [DataRow("kept, then cached", false)]
    public void Fit_StartFromBehindANormaliser_WarnsWhenItIsAnother(string normaliser, bool warned)
    {
        var messages = Warnings();
        var options = Regression();
        var before = _ml.Transforms.NormalizeMinMax("Features").Append(_ml.Transforms.CopyColumns("Copy", "Value")).Append(_ml.Transforms.Concatenate("Features", "Features"));
        var first = before.Append(_ml.Regression.Trainers.DistributedNeuralNetwork(options)).Fit(_data);
        var kept = before.Fit(_data);
        var other = _ml.Data.LoadFromEnumerable(SyntheticData.Examples(60, seed: 9).Select(e => { e.Features = [.. e.Features.Select(f => 5 * f)]; return e; }).ToList());

        StartedModelComesBack();
        options.StartFrom = Reloaded(first);
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork(options);
        if (normaliser.StartsWith("anew", StringComparison.Ordinal))
            before.Append(trainer).Fit(warned ? other : _data);
        else
            trainer.Fit(normaliser switch { "kept" => kept.Transform(_data), "kept, then cached" => _ml.Data.Cache(kept.Transform(_data)), _ => _ml.Data.ShuffleRows(kept.Transform(_data)) });

        Assert.AreEqual(warned, messages.Any(m => m.Contains("Feature column \"Features\" is made by other transforms than in the chain of StartFrom, or by the same fitted to other data", StringComparison.Ordinal)), string.Join('\n', messages));
    }

    [TestMethod]
    [DataRow(1f, 0f, false)]
    [DataRow(3f, 0f, false)]
    [DataRow(1000f, 0f, true)]
    [DataRow(0.001f, 0f, true)]
    [DataRow(1f, 1000f, true)]
    public void Fit_StartFromOtherNumbers_WarnsWhenTheyAreFarAway(float factor, float offset, bool warned)
    {
        var messages = Warnings();
        var options = Regression();
        options.StartFrom = _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(_data);
        var other = _ml.Data.LoadFromEnumerable(SyntheticData.Examples().Select(e => { e.Features[1] = (factor * e.Features[1]) + offset; return e; }).ToList());

        StartedModelComesBack();
        _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(other);

        Assert.AreEqual(warned, messages.Any(m => m.Contains("in slot 1; where the network of StartFrom was trained they were", StringComparison.Ordinal)), string.Join('\n', messages));
    }

    [TestMethod]
    public void Fit_WeightAveraging_ReachesTheJob()
    {
        var options = Regression();
        options.WeightAveraging = new WeightAveraging();
        _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(_data);
        Assert.AreEqual(0.999, _backend.Jobs[^1].Optimizer.AveragingDecay);

        options.WeightAveraging = new WeightAveraging { Decay = 0 };
        StringAssert.Contains(Refusal(() => _ml.Regression.Trainers.DistributedNeuralNetwork(options).Fit(_data)), "WeightAveraging.Decay is 0, expected more");
    }

    private ConcurrentQueue<string> Warnings()
    {
        var messages = new ConcurrentQueue<string>();
        _ml.Log += (_, e) => messages.Enqueue(e.Kind == ChannelMessageKind.Warning ? e.Message : "");
        return messages;
    }

    // As if no step had been made.
    private void StartedModelComesBack() => _backend.Forge = onnx => _backend.JobFiles[^1] is [var start] ? start.Content.ToArray() : onnx;

    private IEstimator<ITransformer> Pipeline(DistributedMulticlassTrainer.Options options) =>
        _ml.Transforms.Conversion.MapValueToKey("Label", "Kind")
            .Append(_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options))
            .Append(_ml.Transforms.Conversion.MapKeyToValue("PredictedKind", "PredictedLabel"));

    private static DistributedRegressionTrainer.Options Regression() => new() { LabelColumnName = "Value", HiddenLayers = [6] };

    private ITransformer Reloaded(ITransformer model)
    {
        using var file = new MemoryStream();
        _ml.Model.Save(model, _data.Schema, file);
        file.Position = 0;
        return _ml.Model.Load(file, out _);
    }

    private static string Refusal(Action fit) => Assert.ThrowsExactly<ArgumentException>(fit).Message;

    private sealed class Narrow
    {
        [VectorType(2)]
        public float[] Features { get; set; } = [];

        public string Kind { get; set; } = "";
    }
}
