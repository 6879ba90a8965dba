using System.Runtime.InteropServices;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Microsoft.ML.Transforms.Image;
using MLDistributed.Bench;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;
using SkiaSharp;
using ImageArchitecture = Microsoft.ML.Distributed.ImageArchitecture;
using ImageAugmentation = Microsoft.ML.Distributed.ImageAugmentation;
using StepLoss = Microsoft.ML.Distributed.StepLoss;

namespace Cluster.Tests;

/// <summary>Images in, a model that scores images out. The images are scanned digits, 8 pixels high.</summary>
[TestClass]
public sealed class ImageTests
{
    private const int Side = 8;
    private static readonly Lazy<List<Digit>> s_digits = new(Read);

    [TestMethod]
    public void Fit_DigitsAsImages_LearnsTheSameOnOneAndTwoRanksAndSurvivesSaveAndLoad()
    {
        var ml = SharedCluster.NewContext();
        var data = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Name)).Fit(Images(ml)).Transform(Images(ml));
        var split = ml.Data.TrainTestSplit(data, 0.2);

        var runs = new[] { 1, 2 }.Select(ranks =>
        {
            var losses = new List<StepLoss>();
            var options = Options(o => (o.FeatureColumnName, o.MinRanks, o.MaxRanks, o.MetricsCallback) = (nameof(Digit.Image), ranks, ranks, p => losses.AddRange(p.RecentLosses)));
            options.PredictedLabelColumnName = "Answer";
            return (Model: ml.MulticlassClassification.Trainers.DistributedImageClassification(options).Append(ml.Transforms.Conversion.MapKeyToValue("Name", "Answer")).Fit(split.TrainSet), Losses: losses);
        }).ToArray();

        for (var i = 0; i < 50; i++)
            Assert.AreEqual(runs[0].Losses[i].Loss, runs[1].Losses[i].Loss, 5e-3 * runs[0].Losses[i].Loss, $"step {i + 1}");
        var scored = runs[1].Model.Transform(split.TestSet);
        Assert.IsGreaterThanOrEqualTo(0.95, ml.MulticlassClassification.Evaluate(scored, predictedLabelColumnName: "Answer").MicroAccuracy);
        using var file = new MemoryStream();
        ml.Model.Save(runs[1].Model, split.TrainSet.Schema, file);
        file.Position = 0;
        var again = new MLContext().Model.Load(file, out _).Transform(split.TestSet);
        CollectionAssert.AreEqual(scored.GetColumn<string>("Name").ToArray(), again.GetColumn<string>("Name").ToArray());
        CollectionAssert.AreEqual(scored.GetColumn<float[]>("Score").SelectMany(p => p).ToArray(), again.GetColumn<float[]>("Score").SelectMany(p => p).ToArray());
        Assert.DoesNotContain("libtorch", File.ReadAllText("/proc/self/maps"), "The app that trains has loaded libtorch.");
    }

    [TestMethod]
    public void Fit_BooleanLabel_LearnsTheSameOnOneAndTwoRanksAndTellsItsMetrics()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(ml.Data.LoadFromEnumerable(s_digits.Value.Select(d => new Sign { Image = d.Image, IsRound = d.Name is "0" or "6" or "8" or "9" })), 0.2);

        var models = new[] { 1, 2 }.Select(ranks => ml.BinaryClassification.Trainers.DistributedImageClassification(new DistributedBinaryImageClassificationTrainer.Options
        {
            LabelColumnName = "IsRound", FeatureColumnName = "Image", ImageHeight = Side, Channels = 1, Epoch = 8, LearningRate = 5e-3, Seed = 3, MinRanks = ranks, MaxRanks = ranks,
            ClassWeights = [1, 2], Augmentation = new ImageAugmentation { Mixup = 0.2 }, ValidationSet = split.TestSet,
        }).Fit(split.TrainSet)).ToArray();

        var summaries = models.Select(m => m.LastTransformer.Model.Summary).ToArray();
        Assert.AreEqual(summaries[0].History[0].TrainingLoss, summaries[1].History[0].TrainingLoss, 5e-3 * summaries[0].History[0].TrainingLoss);
        Assert.IsTrue(summaries[1].History.All(e => e.ValidationMetrics.Keys.SequenceEqual(["Accuracy", "AreaUnderRocCurve", "F1Score"])));
        var scored = models[1].Transform(split.TestSet);
        var metrics = ml.BinaryClassification.Evaluate(scored, "IsRound");
        Assert.IsGreaterThanOrEqualTo(0.98, metrics.AreaUnderRocCurve);
        Assert.AreEqual(metrics.AreaUnderRocCurve, summaries[1].ValidationMetrics["AreaUnderRocCurve"], 1e-3);
        CollectionAssert.AreEqual(scored.GetColumn<float>("Score").Select(s => s > 0).ToArray(), scored.GetColumn<bool>("PredictedLabel").ToArray());
        using var file = new MemoryStream();
        ml.Model.Save(models[1], split.TrainSet.Schema, file);
        file.Position = 0;
        CollectionAssert.AreEqual(scored.GetColumn<float>("Probability").ToArray(), new MLContext().Model.Load(file, out _).Transform(split.TestSet).GetColumn<float>("Probability").ToArray());
        using var onnx = new MemoryStream();
        models[1].LastTransformer.Model.SaveOnnx(onnx);
        var pixels = scored.GetColumn<float[]>("Image.Pixels").ToArray();
        using var session = new InferenceSession(onnx.ToArray());
        using var results = session.Run([NamedOnnxValue.CreateFromTensor("features", new DenseTensor<float>(pixels.SelectMany(p => p).ToArray(), [pixels.Length, Side * Side]))]);
        foreach (var (expected, found) in scored.GetColumn<float>("Probability").Zip(results.Single(r => r.Name == "probability").AsTensor<float>()))
            Assert.AreEqual(expected, found, 1e-4f);
    }

    [TestMethod]
    public void Fit_BooleanLabelThatIsNone_IsRefusedBeforeDataIsRead()
    {
        var ml = new MLContext(1);

        var message = Assert.ThrowsExactly<ArgumentException>(() => ml.BinaryClassification.Trainers.DistributedImageClassification(new DistributedBinaryImageClassificationTrainer.Options
        {
            LabelColumnName = "Name", FeatureColumnName = "Image", ClassWeights = [1, 2, 3],
        }).Fit(Images(ml))).Message;

        StringAssert.Contains(message, "Label column \"Name\" is a String, expected a Boolean");
    }

    [TestMethod]
    public void Fit_PathsAndBytes_AreTheSameImages()
    {
        var ml = SharedCluster.NewContext();
        var folder = Directory.CreateTempSubdirectory("mltest-").FullName;
        try
        {
            var rows = s_digits.Value.Take(200).ToList();
            foreach (var row in rows)
                File.WriteAllBytes(Path.Combine(folder, row.Path), row.File);
            var data = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Name)).Fit(Images(ml)).Transform(ml.Data.LoadFromEnumerable(rows));

            var scores = new[] { nameof(Digit.Image), nameof(Digit.File), nameof(Digit.Path) }.Select(column =>
            {
                var options = Options(o => (o.FeatureColumnName, o.ImageFolder, o.Epoch, o.MaxRanks) = (column, folder, 2, 1));
                options.Augmentation = new ImageAugmentation { Shift = 1, Mixup = 0.2 };
                options.ValidationSet = data;
                var model = ml.MulticlassClassification.Trainers.DistributedImageClassification(options).Fit(data);
                return (model.LastTransformer.Model.DatasetId, Scores: model.Transform(data).GetColumn<float[]>("Score").SelectMany(s => s).ToArray());
            }).ToArray();

            foreach (var (id, values) in scores[1..])
            {
                Assert.AreEqual(scores[0].DatasetId, id);
                CollectionAssert.AreEqual(scores[0].Scores, values);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    public static IEnumerable<object[]> Unreadable =>
    [
        ["missing.png", null!, "Image \"missing.png\" in column \"Path\" at row 3 is not there, expected a JPEG, PNG"],
        ["", null!, "Image \"\" in column \"Path\" at row 3 has no path"],
        [null!, "no image at all"u8.ToArray(), "Image of 15 bytes in column \"File\" at row 3 is in no format that is known, beginning 6E6F2069"],
        [null!, Array.Empty<byte>(), "Image of 0 bytes in column \"File\" at row 3 is empty"],
        [null!, Png(64, 64, (x, y) => (byte)(x * y))[..200], "in column \"File\" at row 3 is cut off"],
    ];

    [TestMethod]
    [DynamicData(nameof(Unreadable))]
    public void FitAndTransform_UnreadableImage_NameIt(string? path, byte[]? file, string words)
    {
        var ml = SharedCluster.NewContext();
        var column = path is null ? nameof(Digit.File) : nameof(Digit.Path);
        var rows = s_digits.Value.Take(40).Select((d, i) => i == 3 ? new Digit { Name = d.Name, File = file ?? [], Path = path ?? "" } : d).ToList();
        var good = s_digits.Value.Take(40).Select(d => new Digit { Name = d.Name, File = d.File, Path = Path.Combine(AppContext.BaseDirectory, d.Path) }).ToList();
        var mapping = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Name)).Fit(Images(ml));
        var trainer = ml.MulticlassClassification.Trainers.DistributedImageClassification(Options(o => (o.FeatureColumnName, o.Epoch) = (column, 1)));

        var e = Assert.ThrowsExactly<InvalidDataException>(() => trainer.Fit(mapping.Transform(ml.Data.LoadFromEnumerable(path is null ? rows : [.. rows.Skip(3), .. rows.Take(3)]))));

        StringAssert.Contains(e.Message, path is null ? words : words.Replace("row 3", "row 0", StringComparison.Ordinal));
        if (path is not null)
            return;
        var model = trainer.Fit(mapping.Transform(ml.Data.LoadFromEnumerable(good)));
        var scored = model.Transform(mapping.Transform(ml.Data.LoadFromEnumerable(rows)));
        StringAssert.Contains(Unwrapped(Assert.Throws<Exception>(() => scored.GetColumn<uint>("PredictedLabel").Count())).Message, words);
    }

    [TestMethod]
    public void Fit_ColumnOfNoImagesOrOptionsOutOfRange_AreRefusedBeforeDataIsRead()
    {
        var ml = new MLContext(1);
        var data = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Name)).Append(ml.Transforms.Conversion.ConvertType("Number", nameof(Digit.Name), DataKind.Single)).Fit(Images(ml)).Transform(Images(ml));
        ArgumentException Refused(Action<DistributedImageClassificationTrainer.Options> change) =>
            Assert.ThrowsExactly<ArgumentException>(() => ml.MulticlassClassification.Trainers.DistributedImageClassification(Options(o =>
            {
                o.FeatureColumnName = nameof(Digit.Image);
                change(o);
            })).Fit(data));

        StringAssert.Contains(Refused(o => o.FeatureColumnName = "Number").Message, "Feature column \"Number\" is a Single, expected images: an MLImage, the bytes of an image file");
        StringAssert.Contains(Refused(o => o.FeatureColumnName = "Pictures").Message, "Feature column \"Pictures\" is not in the data");
        var all = Refused(o => (o.ScoreColumnName, o.ImageHeight, o.Channels, o.HiddenLayers, o.Augmentation, o.BatchSize, o.FreezeBackbone, o.StageLearningRateFactor) = ("P", 0, 2, [5], new ImageAugmentation { Flip = 2, Mixup = 7, LeastArea = 0 }, 0, true, 2)).Message;
        foreach (var words in new[] { "Channels is 2, expected 1 (grey) or 3", "Images are 0 x 0, expected 1 to 1,024", "Augmentation.Flip is 2", "Augmentation.Mixup is 7", "Augmentation.LeastArea is 0, expected a fraction", "StageLearningRateFactor is 2, expected a number from 0.01 to 1", "StageLearningRateFactor is 2 where the head alone is trained", "FreezeBackbone is true without Weights", "HiddenLayers is set beside an image network", "BatchSize is 0", "ScoreColumnName is \"P\", expected \"Score\"" })
            StringAssert.Contains(all, words);
    }

    [TestMethod]
    public void Fit_FromWeights_StartsFromThem()
    {
        var ml = SharedCluster.NewContext();
        var data = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Name)).Fit(Images(ml)).Transform(ml.Data.TakeRows(Images(ml), 200));
        var spec = new JobSpec { Task = MlTask.Multiclass, Module = new ModuleSpec { Image = new ImageSpec { Height = Side, Width = Side, Channels = 1, OutputSize = 10, Mean = { 124 }, Scale = { 0.02f } } } };
        var tensors = Made(ImageNetwork.Of(spec.Module.Image));
        var path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, TensorFile.Write(tensors));
            var options = Options(o => (o.FeatureColumnName, o.Epoch, o.LearningRate, o.FreezeBackbone, o.Weights) = (nameof(Digit.Image), 1, 1e-9, true, ImageWeights.FromSafetensors(path)));

            var model = ml.MulticlassClassification.Trainers.DistributedImageClassification(options).Fit(data);

            using var onnx = new MemoryStream();
            model.LastTransformer.Model.SaveOnnx(onnx);
            var got = ModelProto.Parser.ParseFrom(onnx.ToArray()).Graph.Initializer.ToDictionary(t => t.Name);
            foreach (var expected in OnnxImageWriter.Write(spec, tensors.ToDictionary(t => t.Name, t => t.Values)).Graph.Initializer.Where(t => t.Name.StartsWith("conv", StringComparison.Ordinal) || t.Name.StartsWith("fc", StringComparison.Ordinal)))
                foreach (var (a, b) in MemoryMarshal.Cast<byte, float>(expected.RawData.Span).ToArray().Zip(MemoryMarshal.Cast<byte, float>(got[expected.Name].RawData.Span).ToArray()))
                    Assert.AreEqual(a, b, 1e-5, expected.Name);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [TestMethod]
    public void Fit_WeightsThatDoNotFit_AreAllNamedBeforeDataIsRead()
    {
        var ml = new MLContext(1);
        var data = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Name)).Fit(Images(ml)).Transform(Images(ml));
        var tensors = Made(ImageNetwork.Of(new ImageSpec { Height = Side, Width = Side, Channels = 3, OutputSize = 1000, Architecture = MLDistributed.Protocol.ImageArchitecture.Resnet18 }));
        tensors.Find(t => t.Name == "bn1.running_var")!.Values[3] = -2;
        tensors = [.. tensors.Where(t => t.Name != "bn1.bias"), new NamedTensor("layer4.2.conv2.weight", [1], [0])];
        var options = Options(o => (o.FeatureColumnName, o.Weights, o.FreezeUpTo) = (nameof(Digit.Image), new ImageWeights(tensors), "layer5"));
        Assert.AreEqual(ImageArchitecture.ResNet18, options.Arch);

        var message = Assert.ThrowsExactly<ArgumentException>(() => ml.MulticlassClassification.Trainers.DistributedImageClassification(options).Fit(data)).Message;

        foreach (var words in new[]
        {
            "Weights \"conv1.weight\" are [64, 3, 7, 7], expected [64, 1, 7, 7].", "Weights \"bn1.bias\" are missing, expected [64].", "Weights \"layer4.2.conv2.weight\" are [1], expected none",
            "Weights \"bn1.running_var\" hold -2, expected variances",
            "FreezeUpTo is \"layer5\", expected a part of ResNet18: \"conv1\", \"layer1\", \"layer2\", \"layer3\", \"layer4\"",
        })
            StringAssert.Contains(message, words);
        Assert.DoesNotContain("fc.weight", message);
    }

    [TestMethod]
    public void Fit_BatchThatCannotFitMemory_IsRefusedBeforeTheStartWithNumbers()
    {
        var ml = SharedCluster.NewContext();
        var data = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Name)).Fit(Images(ml)).Transform(Images(ml));

        var e = Assert.Throws<Exception>(() => ml.MulticlassClassification.Trainers.DistributedImageClassification(Options(o => (o.FeatureColumnName, o.ImageHeight, o.Arch, o.BatchSize) = (nameof(Digit.Image), 200, ImageArchitecture.ResNet50, 100_000))).Fit(data));

        StringAssert.Contains(e.Message, "BatchSize is 100,000: a step's 1,797 rows take at least");
        StringAssert.Contains(e.Message, "GiB of the machine. Make BatchSize smaller.");
    }

    // As a network might have been trained.
    private static List<NamedTensor> Made(ImageNetwork network)
    {
        var random = new Random(4);
        return [.. network.Tensors.Select(t => new NamedTensor(t.Name, t.Shape, [.. Enumerable.Range(0, (int)t.Length).Select(_ => t.Name.EndsWith("var", StringComparison.Ordinal) ? 1 : (random.NextSingle() - 0.5f) * 0.2f)]))];
    }

    private static DistributedImageClassificationTrainer.Options Options(Action<DistributedImageClassificationTrainer.Options> change)
    {
        var options = new DistributedImageClassificationTrainer.Options { ImageHeight = Side, Channels = 1, Epoch = 8, LearningRate = 5e-3, Seed = 3 };
        change(options);
        return options;
    }

    // ML.NET's own threads wrap what they throw.
    private static InvalidDataException Unwrapped(Exception? e) => e as InvalidDataException ?? Unwrapped(e!.InnerException);

    internal static IDataView Images(MLContext ml) => ml.Data.LoadFromEnumerable(s_digits.Value);

    private static List<Digit> Read()
    {
        var ml = new MLContext();
        var table = DataSets.Digits(ml);
        return [.. table.GetColumn<float[]>("Features").Zip(table.GetColumn<uint>("Label")).Select((row, i) =>
        {
            var png = Png(Side, Side, (x, y) => (byte)Math.Min(255, row.First[(y * Side) + x] * 16));
            return new Digit { Image = MLImage.CreateFromStream(new MemoryStream(png)), File = png, Path = $"{i}.png", Name = $"{row.Second - 1}" };
        })];
    }

    private static byte[] Png(int width, int height, Func<int, int, byte> grey)
    {
        using var bitmap = new SKBitmap(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque);
        for (var y = 0; y < height; y++)
            for (var x = 0; x < width; x++)
                bitmap.SetPixel(x, y, new SKColor(grey(x, y), grey(x, y), grey(x, y)));
        using var data = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }

    public sealed class Sign
    {
        [ImageType(Side, Side)]
        public MLImage Image { get; set; } = null!;

        public bool IsRound { get; set; }
    }

    public sealed class Digit
    {
        [ImageType(Side, Side)]
        public MLImage Image { get; set; } = null!;

        public byte[] File { get; set; } = [];

        public string Path { get; set; } = "";

        public string Name { get; set; } = "";
    }
}
