using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using Training.Tests.Loop;
using TorchSharp;
using static TorchSharp.torch;

namespace Training.Tests.Models.Images;

[TestClass]
public sealed class ImageNetworkTests
{
    public static IEnumerable<object[]> Architectures => Enum.GetValues<ImageArchitecture>().Select(a => new object[] { a });

    /// <summary>A job about images of three classes, which differ by where they are light.</summary>
    public static JobSpec Spec(Action<ImageSpec>? change = null) => Loop.Cluster.Spec(s =>
    {
        s.Module.Image = new ImageSpec { Height = 12, Width = 10, Channels = 3, OutputSize = 3, Mean = { 120, 110, 100 }, Scale = { 0.02f, 0.02f, 0.02f } };
        s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-3 }, LearningRate = 1e-3 };
        change?.Invoke(s.Module.Image);
    });

    public static void Write(string path, int rows, int height = 12, int width = 10, int channels = 3)
    {
        var random = new Random(5);
        float[] Image(int row) => [.. Enumerable.Range(0, channels * height * width).Select(i => (float)random.Next(0, 160) + (i / width % 3 == row % 3 ? 90 : 0))];
        Datasets.Write(path, channels * height * width, rows, Image, i => i % 3, rowsPerBatch: 50, element: FeatureElement.UInt8);
    }

    [TestMethod]
    [DynamicData(nameof(Architectures))]
    public void WriteOnnx_AnyArchitecture_ComputesWhatTheModuleDoes(ImageArchitecture architecture)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var spec = Spec(i => (i.Architecture, i.Height, i.Width) = (architecture, 37, 33));
        var image = spec.Module.Image;
        using var module = new ImageModule(ImageNetwork.Of(image));
        // As after some training: statistics and gains of their own.
        foreach (var (name, buffer) in module.named_buffers().Where(b => b.buffer.dtype == ScalarType.Float32))
            _ = name.EndsWith("var", StringComparison.Ordinal) ? buffer.uniform_(0.5, 1.5) : buffer.normal_(0, 0.3);
        foreach (var (name, parameter) in module.named_parameters().Where(p => p.parameter.dim() == 1))
            _ = name.EndsWith("weight", StringComparison.Ordinal) ? parameter.uniform_(0.5, 1) : parameter.normal_(0, 0.1);
        var tensors = module.named_parameters().Select(p => (p.name, (Tensor)p.parameter)).Concat(module.named_buffers()).Where(t => t.Item2.dtype == ScalarType.Float32).ToDictionary(t => t.Item1, t => t.Item2.data<float>().ToArray());
        module.eval();
        var random = new Random(1);
        var pixels = Enumerable.Range(0, spec.Module.Kind!.InputSize).Select(_ => (float)random.Next(256)).ToArray();
        var normalized = pixels.Select((p, i) => (p - image.Mean[i / (37 * 33)]) * image.Scale[i / (37 * 33)]).ToArray();

        var onnx = OnnxImageWriter.Write(spec, tensors);

        var scores = new float[3];
        OnnxProgram.Of(onnx, pixels.Length, 3).CreateRunner()(pixels, scores);
        var expected = nn.functional.softmax(module.call(tensor(normalized).unsqueeze(0)), 1).data<float>().ToArray();
        for (var c = 0; c < 3; c++)
            Assert.AreEqual(expected[c], scores[c], 1e-4, $"class {c}");
        var (least, most) = JobModel.Bytes(spec);
        Assert.IsTrue(onnx.CalculateSize() > least && onnx.CalculateSize() < most);
        JobModel.Check(onnx.ToByteArray(), spec);
    }

    [TestMethod]
    [DataRow(ImageArchitecture.Resnet18, 11_689_512, 62)]
    [DataRow(ImageArchitecture.Resnet34, 21_797_672, 110)]
    [DataRow(ImageArchitecture.Resnet50, 25_557_032, 161)]
    public void Layout_OfAResNet_IsTorchvisions(ImageArchitecture architecture, long parameters, int tensors)
    {
        // Numbers of torchvision's documentation, for ImageNet's thousand classes.
        var layout = new ImageSource(Spec(i => (i.Architecture, i.OutputSize) = (architecture, 1000)).Module.Image, seed: 1).Layout;

        Assert.AreEqual(parameters, layout.ParameterLength);
        Assert.HasCount(tensors, layout.Parameters);
        CollectionAssert.IsSubsetOf(
            new[] { "conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight", "layer2.0.downsample.1.bias", "layer4.1.bn2.bias", "fc.weight", "fc.bias" },
            layout.Parameters.Select(p => p.Name).ToArray());
        CollectionAssert.Contains(layout.Buffers.Select(b => b.Name).ToArray(), "layer3.0.bn1.running_var");
    }

    [TestMethod]
    [DataRow(ImageArchitecture.SmallCnn, false), DataRow(ImageArchitecture.SmallCnn, true), DataRow(ImageArchitecture.Resnet18, false)]
    public void Train_Images_IsTheSameOnAnyNumberOfRanks(ImageArchitecture architecture, bool isAugmented)
    {
        using var folder = new TempFolder();
        Write(folder["data"], architecture == ImageArchitecture.SmallCnn ? 60 : 30);
        var spec = Spec(i =>
        {
            i.Architecture = architecture;
            i.Augmentation = isAugmented ? new ImageAugmentation { Shift = 2, LeastArea = 0.6, Flip = 0.5, Brightness = 0.2, Contrast = 0.2, Saturation = 0.3, Mixup = 0.4 } : null;
        });
        spec.GlobalBatchSize = 12;
        spec.Epochs = architecture == ImageArchitecture.SmallCnn ? 3 : 1;
        spec.Data.ValidationFraction = 0.2;

        var runs = new[] { 1, 2, 3 }.Where(w => w < 3 || architecture == ImageArchitecture.SmallCnn).Select(w => Loop.Cluster.Train(spec, w, folder["data"]).ShouldSucceed()).ToArray();

        foreach (var run in runs[1..])
        {
            Assert.HasCount(runs[0].Losses.Length, run.Losses);
            for (var step = 0; step < run.Losses.Length; step++)
                Assert.AreEqual(runs[0].Losses[step], run.Losses[step], 5e-3 * runs[0].Losses[step], $"step {step + 1}");
        }

        if (architecture == ImageArchitecture.SmallCnn && !isAugmented)
            Assert.IsLessThan(runs[0].Losses[0], runs[0].Losses[^1]);
    }

    [TestMethod]
    public void Train_FrozenBackbone_ChangesTheHeadAlone()
    {
        using var folder = new TempFolder();
        Write(folder["data"], 40);
        var spec = Spec(i => i.FrozenStages = 5);
        spec.MaxMicroBatchSize = 7;
        var first = new ImageSource(spec.Module.Image, spec.Seed).Layout;
        CollectionAssert.AreEqual(new[] { "fc.weight", "fc.bias" }, first.Parameters.Select(p => p.Name).ToArray());

        var one = Loop.Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var two = Loop.Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();

        CollectionAssert.AreEqual(one.Tensors["conv3.weight"], two.Tensors["conv3.weight"]);
        Assert.IsTrue(one.Tensors["bn3.running_mean"].All(m => m == 0));
        for (var step = 0; step < one.Losses.Length; step++)
            Assert.AreEqual(one.Losses[step], two.Losses[step], 1e-4, $"step {step + 1}");
        Assert.IsLessThan(one.Losses[0], one.Losses[^1]);
    }

    [TestMethod]
    public void Train_ImagesFromFloats_IsRefused()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 360, 20, i => new float[360], i => i % 3);

        var failure = Loop.Cluster.Train(Spec(), 1, folder["data"]).Failures[0];

        StringAssert.Contains(failure!.Message, "has features of Float32, expected bytes");
    }
}
