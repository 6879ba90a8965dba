using System.Diagnostics;
using System.Globalization;
using Google.Protobuf;
using Microsoft.ML.Distributed;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace MLDistributed.Bench;

/// <summary>Images a second on one thread: our managed program, which runs an image at a time, beside ONNX Runtime with one image a call and with 32, in alternating rounds.</summary>
internal static class ImageScoring
{
    private const int Rounds = 5;
    private const int Batch = 32;
    private const int Classes = 10;

    public static int Run()
    {
        Console.WriteLine($"| images/s, one thread, {Rounds} alternating rounds, median (lowest to highest) | managed, one | ONNX Runtime, one | ONNX Runtime, {Batch} |\n| --- | --- | --- | --- |");
        Compare("ResNet-18, 3 x 64 x 64", MLDistributed.Protocol.ImageArchitecture.Resnet18, 3, 64, images: 64);
        Compare("small CNN, 1 x 28 x 28", MLDistributed.Protocol.ImageArchitecture.SmallCnn, 1, 28, images: 512);
        return 0;
    }

    private static void Compare(string name, MLDistributed.Protocol.ImageArchitecture architecture, int channels, int side, int images)
    {
        var image = new ImageSpec { Architecture = architecture, Channels = channels, Height = side, Width = side, OutputSize = Classes, Mean = { Enumerable.Repeat(120f, channels) }, Scale = { Enumerable.Repeat(0.02f, channels) } };
        var spec = new JobSpec { Task = MlTask.Multiclass, Module = new ModuleSpec { Image = image } };
        var random = new Random(1);
        // Small weights: what they are makes no difference to the time, as long as no number is denormal.
        var tensors = ImageNetwork.Of(image).Tensors.ToDictionary(t => t.Name, t => Enumerable.Range(0, (int)t.Length).Select(_ => t.Name.EndsWith("var", StringComparison.Ordinal) ? 1 : (random.NextSingle() - 0.5f) / MathF.Sqrt(t.Length / t.Shape[0])).ToArray());
        var model = OnnxImageWriter.Write(spec, tensors);
        var size = channels * side * side;
        var managed = OnnxProgram.Of(model, size, Classes).CreateRunner();
        using var runtime = new OnnxRuntimeScorer(model.ToByteArray(), size, Classes);
        var one = runtime.CreateRunner();
        var rows = Enumerable.Range(0, Batch * size).Select(_ => (float)random.Next(256)).ToArray();
        var scores = new float[Batch * Classes];
        var contenders = new Action[]
        {
            () => Each((features, score) => managed(features, score)),
            () => Each((features, score) => one(features, score)),
            () => runtime.Run(rows, Batch, OnnxMlpWriter.Score, scores),
        };
        var rates = contenders.Select(_ => new List<double>()).ToArray();
        for (var round = -1; round < Rounds; round++)
            foreach (var (i, contender) in contenders.Index())
            {
                var started = Stopwatch.GetTimestamp();
                for (var done = 0; done < images; done += Batch)
                    contender();
                if (round >= 0) // the first warms up
                    rates[i].Add(images / Stopwatch.GetElapsedTime(started).TotalSeconds);
            }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {name} | {string.Join(" | ", rates.Select(r => string.Create(CultureInfo.InvariantCulture, $"{r.Order().ElementAt(Rounds / 2):N0} ({r.Min():N0} to {r.Max():N0})")))} |"));

        void Each(RowScorer run)
        {
            for (var i = 0; i < Batch; i++)
                run(rows.AsSpan(i * size, size), scores.AsSpan(i * Classes, Classes));
        }
    }
}
