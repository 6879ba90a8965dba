using System.Diagnostics;
using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

namespace MLDistributed.Bench;

/// <summary>Rows a second under Transform for 64 features and 10 classes: MLP 64-128-10 beside LightGBM, in alternating rounds.</summary>
public static class ScoringThroughput
{
    private const int Rounds = 5;
    private const int Copies = 100;

    internal static int Run()
    {
        var ml = new MLContext(1);
        var digits = DataSets.Digits(ml);
        var rows = Repeat(ml, digits);
        var network = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(hiddenLayers: [128], epochs: 2).Fit(digits);
        var runtime = new OnnxRuntimeScorer(Onnx(network.Model), 64, 10);
        var trees = ml.MulticlassClassification.Trainers.LightGbm().Fit(digits);
        var contenders = new (string Name, Func<long> Score)[]
        {
            ("MLP 64-128-10, managed forward", () => Count(network.Transform(rows))),
            ("LightGBM, 10 x 100 trees", () => Count(trees.Transform(rows))),
            ("MLP 64-128-10, ONNX Runtime row by row, without ML.NET", () => RowByRow(runtime, Copies * 1797)),
            ("MLP 64-128-10, ONNX Runtime in batches of 1,024, without ML.NET", () => InBatches(runtime, Copies * 1797 / 1024)),
        };
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
        return 0;
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

    private static long Count(IDataView scored)
    {
        var column = scored.Schema["Score"];
        using var cursor = scored.GetRowCursor([column]);
        var getter = cursor.GetGetter<VBuffer<float>>(column);
        VBuffer<float> score = default;
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
