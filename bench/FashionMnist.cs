using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.IO.Compression;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Transforms.Image;

namespace MLDistributed.Bench;

/// <summary>Zalando's articles, 28 x 28 grey pixels in ten classes (Xiao et al. 2017, arXiv:1708.07747): accuracy on the test set of 10,000, as the set is split.</summary>
internal static class FashionMnist
{
    private const int Side = 28;
    private const string Folder = "/usr/share/datasets/fashion-mnist"; // of Debian's package

    public static void Run(string[] names)
    {
        if (!Directory.Exists(Folder))
        {
            Console.WriteLine($"\nFashion-MNIST is left out: {Folder} is not there. Install Debian's package dataset-fashion-mnist.");
            return;
        }

        Console.WriteLine("\n| Fashion-MNIST, accuracy on the test set | accuracy | epochs | minutes |\n| --- | --- | --- | --- |");
        foreach (var (name, what, make) in Networks)
            if (names.Length == 0 || names.Contains(name))
                Score(what, make);
    }

    private static (string Name, string What, Func<MLContext, IEstimator<ITransformer>> Make)[] Networks =>
    [
        ("mlp", "DistributedNeuralNetwork", ml => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(featureColumnName: nameof(Article.Pixels), epochs: 15)),
        ("cnn", "SmallCnn", ml => Images(ml, ImageArchitecture.SmallCnn, 20, 4e-3)),
        ("resnet18", "ResNet18, from scratch", ml => Images(ml, ImageArchitecture.ResNet18, 12, 2e-3)),
    ];

    private static IEstimator<ITransformer> Images(MLContext ml, ImageArchitecture arch, int epochs, double rate) => ml.MulticlassClassification.Trainers.DistributedImageClassification(new DistributedImageClassificationTrainer.Options
    {
        FeatureColumnName = nameof(Article.Image),
        Arch = arch,
        ImageHeight = Side,
        Channels = 1,
        Epoch = epochs,
        BatchSize = 128,
        LearningRate = rate,
        ValidationFraction = 0,
        Augmentation = new ImageAugmentation { Shift = 2, Flip = 0.5 },
    });

    private static void Score(string what, Func<MLContext, IEstimator<ITransformer>> make)
    {
        var ml = new MLContext(seed: 1);
        var training = ml.Data.LoadFromEnumerable(Read("train"));
        var mapping = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Article.Class), keyOrdinality: Microsoft.ML.Transforms.ValueToKeyMappingEstimator.KeyOrdinality.ByValue).Fit(training);
        var started = Stopwatch.GetTimestamp();
        var model = make(ml).Fit(mapping.Transform(training));
        var minutes = Stopwatch.GetElapsedTime(started).TotalMinutes;
        var accuracy = ml.MulticlassClassification.Evaluate(model.Transform(mapping.Transform(ml.Data.LoadFromEnumerable(Read("t10k"))))).MicroAccuracy;
        var epochs = Summary(model).Epochs;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {what} | {accuracy:F4} | {epochs} | {minutes:F1} |"));
    }

    private static TrainingSummary Summary(ITransformer model) => model switch
    {
        TransformerChain<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>> chain => chain.LastTransformer.Model.Summary,
        MulticlassPredictionTransformer<NeuralNetworkMulticlassModel> one => one.Model.Summary,
        _ => throw new InvalidOperationException($"The model is a {model.GetType().Name}."),
    };

    private static List<Article> Read(string set)
    {
        var (images, labels) = (Unpack($"{set}-images-idx3-ubyte.gz"), Unpack($"{set}-labels-idx1-ubyte.gz"));
        var count = BinaryPrimitives.ReadInt32BigEndian(images.AsSpan(4));
        return [.. Enumerable.Range(0, count).Select(i => new Article(images.AsSpan(16 + (i * Side * Side), Side * Side), labels[8 + i]))];
    }

    private static byte[] Unpack(string name)
    {
        using var file = new GZipStream(File.OpenRead(Path.Combine(Folder, name)), CompressionMode.Decompress);
        using var memory = new MemoryStream();
        file.CopyTo(memory);
        return memory.ToArray();
    }

    private sealed class Article
    {
        public Article(ReadOnlySpan<byte> grey, byte label)
        {
            var colors = new byte[4 * grey.Length];
            Pixels = new float[grey.Length];
            for (var i = 0; i < grey.Length; i++)
            {
                Pixels[i] = grey[i];
                (colors[4 * i], colors[(4 * i) + 1], colors[(4 * i) + 2], colors[(4 * i) + 3]) = (grey[i], grey[i], grey[i], 255);
            }

            Image = MLImage.CreateFromPixels(Side, Side, MLPixelFormat.Rgba32, colors);
            Class = label;
        }

        [ImageType(Side, Side)]
        public MLImage Image { get; set; }

        [VectorType(Side * Side)]
        public float[] Pixels { get; set; }

        public int Class { get; set; }
    }
}
