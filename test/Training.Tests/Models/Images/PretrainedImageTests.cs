using Google.Protobuf;
using Microsoft.ML.Distributed;
using Microsoft.ML.OnnxRuntime;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;
using MLDistributed.Tests.Shared;
using MLDistributed.Training.Models;
using Training.Tests.Loop;
using TorchSharp;
using static TorchSharp.torch;
using ImageArchitecture = MLDistributed.Protocol.ImageArchitecture;

namespace Training.Tests.Models.Images;

/// <summary>Starting from weights of others.</summary>
[TestClass]
public sealed class PretrainedImageTests
{
    [TestMethod]
    public void Predict_WithMlNetsResNet18_IsWhatItsOwnFileMakes()
    {
        if (ImageFeaturizer.Missing is { } reason)
            Assert.Inconclusive(reason);
        const int Side = 224, Area = Side * Side;
        var weights = ImageWeights.FromDnnImageFeaturizer(ImageFeaturizer.Path);
        Assert.AreEqual(Microsoft.ML.Distributed.ImageArchitecture.ResNet18Cntk, weights.Architecture);
        var network = ImageNetwork.Of(new ImageSpec { Height = Side, Width = Side, Channels = 3, OutputSize = 512, Architecture = ImageArchitecture.Resnet18Cntk });
        Assert.IsEmpty(weights.Misfits(network).ToList());
        var picture = Picture(Side);
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        using var module = new ImageModule(network);
        var tensors = module.named_parameters().Select(p => (p.name, Tensor: (Tensor)p.parameter)).Concat(module.named_buffers().Select(b => (b.name, Tensor: b.buffer))).ToDictionary(t => t.name, t => t.Tensor);
        foreach (var given in weights.Tensors)
            tensors[given.Name].copy_(tensor(given.Values, given.Shape));
        // The outputs are the features themselves.
        tensors["fc.weight"].copy_(eye(512));
        tensors["fc.bias"].zero_();
        module.eval();

        var normal = picture.Select((p, i) => (float)((p / 255.0 - weights.ChannelMeans![i / Area]) / weights.ChannelDeviations![i / Area])).ToArray();
        var features = module.call(tensor(normal, [1, normal.Length])).data<float>().ToArray();

        // Blue, green, red.
        var theirs = normal[(2 * Area)..].Concat(normal[Area..(2 * Area)]).Concat(normal[..Area]).ToArray();
        using var session = new InferenceSession(ImageFeaturizer.Path);
        using var input = OrtValue.CreateTensorValueFromMemory(theirs, [1, 3, Side, Side]);
        using var run = new RunOptions();
        using var outputs = session.Run(run, [.. session.InputMetadata.Keys], [input], [.. session.OutputMetadata.Keys]);
        var expected = outputs[0].GetTensorDataAsSpan<float>().ToArray();
        Assert.HasCount(512, expected);
        Assert.IsGreaterThan(0.5f, expected.Max(), "The picture has no features.");
        for (var i = 0; i < expected.Length; i++)
            Assert.AreEqual(expected[i], features[i], 1e-3 * Math.Max(expected[i], expected.Average()), $"feature {i}");
    }

    [TestMethod]
    public void Train_FromWeights_KeepsWhatIsFrozenAndHasANewHeadForOtherClasses()
    {
        using var folder = new TempFolder();
        ImageNetworkTests.Write(folder["data"], 40);
        var first = Loop.Cluster.Train(ImageNetworkTests.Spec(), 1, folder["data"]).ShouldSucceed();
        Write(folder["weights"], ImageNetworkTests.Spec(), first.Tensors);
        var spec = ImageNetworkTests.Spec(i => (i.OutputSize, i.FrozenStages) = (4, 3));

        var runs = new[] { 1, 2 }.Select(ranks => Loop.Cluster.Train(spec, ranks, folder["data"], weightsPath: folder["weights"]).ShouldSucceed()).ToArray();

        for (var step = 0; step < runs[0].Losses.Length; step++)
            Assert.AreEqual(runs[0].Losses[step], runs[1].Losses[step], 5e-3 * runs[0].Losses[step], $"step {step + 1}");
        foreach (var name in new[] { "conv1.weight", "conv3.weight", "bn3.bias", "bn3.running_mean", "bn3.running_var" })
            CollectionAssert.AreEqual(first.Tensors[name], runs[1].Tensors[name], name);
        foreach (var name in new[] { "conv4.weight", "bn4.running_mean", "conv5.weight" })
            CollectionAssert.AreNotEqual(first.Tensors[name], runs[1].Tensors[name], name);
        Assert.HasCount(4, runs[1].Tensors["fc.bias"]);
        // They are a beginning: with as many classes, the head too.
        var again = Loop.Cluster.Train(ImageNetworkTests.Spec(), 1, folder["data"], weightsPath: folder["weights"]).ShouldSucceed();
        Assert.IsLessThan(first.Losses[0], again.Losses[0]);
        Assert.AreEqual(first.Losses[^1], again.Losses[0], 0.5 * first.Losses[^1]);
    }

    [TestMethod]
    public void Train_StageRateFactor_MovesThePartsNearTheImageLess()
    {
        using var folder = new TempFolder();
        ImageNetworkTests.Write(folder["data"], 40);
        var first = Loop.Cluster.Train(ImageNetworkTests.Spec(), 1, folder["data"]).ShouldSucceed();
        Write(folder["weights"], ImageNetworkTests.Spec(), first.Tensors);
        var spec = ImageNetworkTests.Spec(i => i.StageRateFactor = 0.1);
        var rates = new ImageSource(spec.Module.Image, 1).Layout.Parameters.ToDictionary(p => p.Name, p => p.RateFactor);
        Assert.AreEqual((1.0, 0.1, 0.1, 1e-5), (rates["fc.weight"], rates["conv5.weight"], rates["bn5.bias"], Math.Round(rates["conv1.weight"], 9)));

        var second = Loop.Cluster.Train(spec, 2, folder["data"], weightsPath: folder["weights"]).ShouldSucceed();

        double Moved(string name) => first.Tensors[name].Zip(second.Tensors[name]).Max(p => Math.Abs(p.First - p.Second));
        Assert.IsLessThan(0.1 * Moved("fc.weight"), Moved("conv4.weight"));
        Assert.IsLessThan(0.1 * Moved("conv4.weight"), Moved("conv1.weight"));
    }

    [TestMethod]
    public void Train_FromWeightsThatDoNotFit_NamesThemAll()
    {
        using var folder = new TempFolder();
        ImageNetworkTests.Write(folder["data"], 40);
        var source = new ImageSource(ImageNetworkTests.Spec().Module.Image, 1).Layout;
        var tensors = source.Parameters.Concat(source.Buffers).Where(t => t.Name != "bn2.bias").Select(t => t.Name == "conv3.weight" ? new NamedTensor(t.Name, [1, 2], [3, 4]) : new NamedTensor(t.Name, t.Shape, new float[t.Length]));
        File.WriteAllBytes(folder["weights"], TensorFile.Write([.. tensors]));

        var failure = Loop.Cluster.Train(ImageNetworkTests.Spec(), 1, folder["data"], weightsPath: folder["weights"]).Failures[0]!;

        StringAssert.Contains(failure.Message, "Weights \"bn2.bias\" are missing, expected [32]. Weights \"conv3.weight\" are [1, 2], expected [32, 32, 3, 3].");
    }

    [TestMethod]
    public void FromDnnImageFeaturizer_OtherOnnxFile_NamesTheFirstLayerItLacks()
    {
        using var folder = new TempFolder();
        var layout = new ImageSource(ImageNetworkTests.Spec().Module.Image, 1).Layout;
        var tensors = layout.Parameters.Concat(layout.Buffers).ToDictionary(t => t.Name, t => new float[t.Length]);
        File.WriteAllBytes(folder["onnx"], OnnxImageWriter.Write(ImageNetworkTests.Spec(), tensors).ToByteArray());

        var e = Assert.ThrowsExactly<FormatException>(() => ImageWeights.FromDnnImageFeaturizer(folder["onnx"]));

        StringAssert.Contains(e.Message, "The ONNX file has no Conv of \"features\" that is \"conv1\", weights of [64, 3, 7, 7]");
    }

    private static void Write(string path, JobSpec spec, IReadOnlyDictionary<string, float[]> tensors) =>
        File.WriteAllBytes(path, TensorFile.Write([.. ImageNetwork.Of(spec.Module.Image).Tensors.Select(t => new NamedTensor(t.Name, t.Shape, tensors[t.Name]))]));

    // Bytes of three planes: waves and squares, as different in each colour as in a photograph.
    private static float[] Picture(int side) => [.. Enumerable.Range(0, 3 * side * side).Select(i =>
    {
        var (c, y, x) = (i / (side * side), i / side % side, i % side);
        var wave = 60 * Math.Sin((x + (20 * c)) / 9.0) * Math.Cos(y / (7.0 + c));
        return (float)(byte)(110 + wave + ((x / 32 + y / 32) % 2 == 0 ? 50 - (30 * c) : 0));
    })];
}
