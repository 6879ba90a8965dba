using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Running;
using Microsoft.ML;
using Microsoft.ML.Data;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Toolchains.InProcess.Emit;

namespace MLDistributed.Bench;

/// <summary>A PredictionEngine's Predict for one row of 64 features and 10 classes.</summary>
[MemoryDiagnoser]
public class SingleRowLatency
{
    private readonly ScoringThroughput.Row _row = new() { Features = new float[64] };
    private PredictionEngine<ScoringThroughput.Row, Prediction> _network = null!;
    private PredictionEngine<ScoringThroughput.Row, Prediction> _trees = null!;

    internal static int Run(string[] args)
    {
        // In this process: the benchmark's own project would be built without the local runtime's place.
        var config = DefaultConfig.Instance.AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance));
        BenchmarkRunner.Run<SingleRowLatency>(config, args);
        return 0;
    }

    /// <summary>Trains both models.</summary>
    [GlobalSetup]
    public void Train()
    {
        var ml = new MLContext(1);
        var digits = DataSets.Digits(ml);
        _network = Engine(ml, ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(hiddenLayers: [128], epochs: 2).Fit(digits));
        _trees = Engine(ml, ml.MulticlassClassification.Trainers.LightGbm().Fit(digits));
    }

    /// <summary>MLP 64-128-10.</summary>
    [Benchmark]
    public float[] Network() => _network.Predict(_row).Score;

    /// <summary>10 x 100 trees.</summary>
    [Benchmark]
    public float[] LightGbm() => _trees.Predict(_row).Score;

    private static PredictionEngine<ScoringThroughput.Row, Prediction> Engine(MLContext ml, ITransformer model) =>
        ml.Model.CreatePredictionEngine<ScoringThroughput.Row, Prediction>(model);

    /// <summary>What is predicted.</summary>
    public sealed class Prediction
    {
        /// <summary>Probabilities.</summary>
        public float[] Score { get; set; } = [];
    }
}
