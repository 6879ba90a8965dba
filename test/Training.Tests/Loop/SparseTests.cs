using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Training.Models;

namespace Training.Tests.Loop;

/// <summary>Rows that name their non-zero features alone: a step costs what its rows have, and changes the weights of that.</summary>
[TestClass]
public sealed class SparseTests
{
    private const int Size = 300;
    private const int NeverSeen = 77; // 0, 3 and 77 have no row, nor any beyond 290

    private static readonly Dictionary<string, Action<JobSpec>> s_cases = new()
    {
        ["momentum"] = _ => { },
        ["adamw, clipping, dropout, batch norm"] = s =>
        {
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 }, LearningRate = 5e-3, WeightDecay = 0.1 };
            (s.GradientClipNorm, s.Module.Mlp.Dropout, s.Module.Mlp.Normalization) = (0.5, 0.1, LayerNormalization.Batch);
        },
        ["linear, scaled, accumulated"] = s =>
        {
            s.Module.Mlp.HiddenSizes.Clear();
            s.Data.Features = new FeatureScaling { Scale = { Enumerable.Repeat(0.5f, Size) } };
            s.MaxMicroBatchSize = 5;
        },
        ["wide rows, validation"] = s =>
        {
            s.Module.Mlp.HiddenSizes[0] = 3000;
            s.Data.ValidationFraction = 0.2;
        },
    };

    public static IEnumerable<object[]> Cases => s_cases.Keys.Select(k => new object[] { k });

    [TestMethod, DynamicData(nameof(Cases))]
    public void Train_OnOneToThreeRanks_IsTheSameAndLeavesUnseenFeaturesAlone(string name)
    {
        using var folder = new TempFolder();
        Write(folder["data"], 200);
        var spec = Spec(s_cases[name]);
        var one = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        Assert.IsLessThan(one.Losses[0] * 0.95, one.Losses[^5..].Average(), "Nothing was learnt.");
        foreach (var world in new[] { 2, 3 })
        {
            var run = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
            for (var step = 0; step < one.Losses.Length; step++)
                Assert.AreEqual(one.Losses[step], run.Losses[step], 1e-3 * Math.Abs(one.Losses[step]), $"{world} ranks, step {step}");
            AssertUntouched(spec, run, NeverSeen, Size - 1, 0);
        }
    }

    [TestMethod]
    public void Resume_OnAnotherNumberOfRanks_GoesOn()
    {
        using var folder = new TempFolder();
        Write(folder["data"], 200);
        var spec = Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 });
        var whole = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints[0].Content);

        var rest = Cluster.Train(spec, 2, folder["data"], folder["checkpoint"]).ShouldSucceed();

        for (var i = 0; i < rest.Losses.Length; i++)
            Assert.AreEqual(whole.Losses[^rest.Losses.Length..][i], rest.Losses[i], 1e-3 * Math.Abs(rest.Losses[i]));
        AssertUntouched(spec, rest, NeverSeen);
    }

    // The same rows, dense: plain SGD changes no weight whose gradient is 0.
    [TestMethod]
    public void Train_BySgd_IsAsOnTheSameRowsDense()
    {
        using var folder = new TempFolder();
        Write(folder["data"], 200);
        Datasets.Write(folder["dense"], Size, 200, Dense, i => i % 3);
        var spec = Spec(s => s.Optimizer = new OptimizerSpec { Sgd = new SgdSpec(), LearningRate = 0.05 });
        var dense = spec.Clone();
        dense.Module.Mlp.Sparse = null;
        var layout = MlpSource.LayoutOf(spec.Module.Mlp);
        var first = new float[layout.ParameterLength];
        Initialize(spec, first);

        var sparse = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        var same = Cluster.Train(dense, 2, folder["dense"], configure: r => r.Value with { Module = s => new Transposed(new MlpSource(s.Module.Mlp, s.Seed), first, Size) }).ShouldSucceed();

        for (var step = 0; step < sparse.Losses.Length; step++)
            Assert.AreEqual(same.Losses[step], sparse.Losses[step], 1e-4 * same.Losses[step], $"step {step}");
    }

    [TestMethod]
    public void Train_OnDataOfTheOtherForm_IsRefused()
    {
        using var folder = new TempFolder();
        Write(folder["data"], 50);
        Datasets.Write(folder["dense"], Size, 50, Dense, i => i % 3);
        var dense = Spec(s => s.Module.Mlp.Sparse = null);

        StringAssert.Contains(Cluster.Train(dense, 1, folder["data"]).Failures[0]!.Message, "has sparse features");
        StringAssert.Contains(Cluster.Train(Spec(_ => { }), 1, folder["dense"]).Failures[0]!.Message, "has dense features");
    }

    private static JobSpec Spec(Action<JobSpec> change) => Cluster.Spec(s =>
    {
        (s.Module.Mlp.InputSize, s.Module.Mlp.Sparse, s.Epochs) = (Size, new SparseInputSpec { MeanNonZeros = 4 }, 4);
        change(s);
    });

    // A row's class is where its features are; every seventh row has none.
    private static (int Slot, float Value)[] Row(int i) => i % 7 == 0 ? [] : [(1 + i % 2, 0.5f), (10 + i % 3 * 20 + i % 11, 1), (100 + i % 150, -1), (260 + i % 30, 2)];

    private static float[] Dense(int i)
    {
        var dense = new float[Size];
        foreach (var (slot, value) in Row(i))
            dense[slot] = value;
        return dense;
    }

    private static void Write(string path, int rows) => SparseBatches.Write(path, Enumerable.Range(0, (rows + 69) / 70).Select(b =>
    {
        var places = Enumerable.Range(b * 70, Math.Min(70, rows - b * 70)).ToArray();
        return SparseBatches.Make(Size, [.. places.Select(Row)], places.Select(i => (float)(i % 3)));
    }));

    private static unsafe void Initialize(JobSpec spec, float[] parameters)
    {
        fixed (float* memory = parameters)
            Initialization.Fill(MlpSource.LayoutOf(spec.Module.Mlp), spec.Module.Mlp, spec.Seed, memory);
    }

    private static void AssertUntouched(JobSpec spec, Run run, params int[] features)
    {
        var first = new float[MlpSource.LayoutOf(spec.Module.Mlp).ParameterLength];
        Initialize(spec, first);
        var (weights, width) = (run.Tensors["layers.0.weight"], run.Tensors["layers.0.weight"].Length / Size);
        foreach (var feature in features)
            CollectionAssert.AreEqual(first[(feature * width)..((feature + 1) * width)], weights[(feature * width)..((feature + 1) * width)], $"feature {feature}");
        CollectionAssert.AreNotEqual(first[(1 * width)..(2 * width)], weights[(1 * width)..(2 * width)]);
    }

    /// <summary>A dense source that begins with the weights of a sparse one.</summary>
    private sealed unsafe class Transposed(IModuleSource source, float[] first, int inputs) : IModuleSource
    {
        public FlatLayout Layout => source.Layout;

        public MLDistributed.Protocol.Onnx.ModelProto WriteOnnx(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors) => source.WriteOnnx(spec, tensors);

        public void Initialize(float* parameters)
        {
            var table = (int)Layout.Parameters[0].Length;
            var outputs = table / inputs;
            for (var i = 0; i < inputs; i++)
                for (var o = 0; o < outputs; o++)
                    parameters[o * inputs + i] = first[i * outputs + o];
            first.AsSpan(table).CopyTo(new Span<float>(parameters + table, first.Length - table));
        }

        public ITrainedModule Create(TorchSharp.torch.Tensor parameters, TorchSharp.torch.Tensor gradients, long maxRows, StatisticsJoin ranks, Action<long>? gradientsReady) =>
            source.Create(parameters, gradients, maxRows, ranks, gradientsReady);
    }
}
