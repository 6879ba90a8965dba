using System.Diagnostics;
using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

namespace MLDistributed.Bench;

/// <summary>Rows a second under Transform beside LightGBM, in alternating rounds: 64 pixels and 10 classes, and a table's 20 features value by value.</summary>
public static class ScoringThroughput
{
    private const int Rounds = 5;
    private const int Copies = 100;

    internal static int Run()
    {
        Images();
        Tables();
        return 0;
    }

    // 20 features of many values: 16 steps each.
    private static void Tables()
    {
        var ml = new MLContext(1);
        var rare = ml.Data.Cache(DataSets.Rare(ml));
        var (encoded, plain) = (Train(true), Train(false));
        var trees = ml.BinaryClassification.Trainers.LightGbm().Fit(rare);
        Compare(
            ("MLP 20-256-128-1 with 320 steps, managed forward", () => Count<float>(encoded.Transform(rare))),
            ("MLP 20-256-128-1, managed forward", () => Count<float>(plain.Transform(rare))),
            ("LightGBM, 100 trees", () => Count<float>(trees.Transform(rare))));

        ITransformer Train(bool encodes) => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(new DistributedBinaryTrainer.Options { Epochs = 1, EncodeLevels = encodes }).Fit(rare);
    }

    private static void Images()
    {
        var ml = new MLContext(1);
        var digits = DataSets.Digits(ml);
        var rows = Repeat(ml, digits);
        var network = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(hiddenLayers: [128], epochs: 2).Fit(digits);
        var runtime = new OnnxRuntimeScorer(Onnx(network.Model), 64, 10);
        var trees = ml.MulticlassClassification.Trainers.LightGbm().Fit(digits);
        Compare(
            ("MLP 64-128-10, managed forward", () => Count<VBuffer<float>>(network.Transform(rows))),
            ("LightGBM, 10 x 100 trees", () => Count<VBuffer<float>>(trees.Transform(rows))),
            ("MLP 64-128-10, ONNX Runtime row by row, without ML.NET", () => RowByRow(runtime, Copies * 1797)),
            ("MLP 64-128-10, ONNX Runtime in batches of 1,024, without ML.NET", () => InBatches(runtime, Copies * 1797 / 1024)));
    }

    private static void Compare(params (string Name, Func<long> Score)[] contenders)
    {
        foreach (var (_, score) in contenders)
            score();

        var rates = contenders.Select(_ => new List<double>()).ToArray();
        for (var round = 0; round < Rounds; round++)
        {
            for (var i = 0; i < contenders.Length; i++)
            {
                var started = Stopwatch.GetTimestamp();
                rates[i].Add(contenders[i].Score() / Stopwatch.GetElapsedTime(started).TotalSeconds);
            }
        }

        Console.WriteLine($"| rows/s, {Rounds} alternating rounds | median | lowest | highest |\n| --- | --- | --- | --- |");
        foreach (var ((name, _), rate) in contenders.Zip(rates))
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {name} | {rate.Order().ElementAt(Rounds / 2):N0} | {rate.Min():N0} | {rate.Max():N0} |"));
        Console.WriteLine();
    }

    private static IDataView Repeat(MLContext ml, IDataView digits)
    {
        var rows = ml.Data.CreateEnumerable<Row>(digits, reuseRowObject: false).ToArray();
        return ml.Data.Cache(ml.Data.LoadFromEnumerable(Enumerable.Repeat(rows, Copies).SelectMany(r => r)));
    }

    private static byte[] Onnx(NeuralNetworkMulticlassModel model)
    {
        using var stream = new MemoryStream();
        model.SaveOnnx(stream);
        return stream.ToArray();
    }

    private static long Count<T>(IDataView scored)
    {
        var column = scored.Schema["Score"];
        using var cursor = scored.GetRowCursor([column]);
        var getter = cursor.GetGetter<T>(column);
        T score = default!;
        var count = 0L;
        for (; cursor.MoveNext(); count++)
            getter(ref score);
        return count;
    }

    private static long RowByRow(OnnxRuntimeScorer runtime, int count)
    {
        var run = runtime.CreateRunner();
        var (features, score) = (new float[64], new float[10]);
        for (var i = 0; i < count; i++)
            run(features, score);
        return count;
    }

    private static long InBatches(OnnxRuntimeScorer runtime, int count)
    {
        var (features, score) = (new float[64 * 1024], new float[10 * 1024]);
        for (var i = 0; i < count; i++)
            runtime.Run(features, 1024, "score", score);
        return count * 1024L;
    }

    public sealed class Row
    {
        [VectorType(64)]
        public float[] Features { get; set; } = [];
    }
}
