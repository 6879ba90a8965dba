using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training;
using MLDistributed.Training.Models;
using TorchSharp;
using Training.Tests.Loop;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Training.Tests.Models;

[TestClass]
public sealed class TorchModuleTests
{
    private const int RowCount = 100;

    [TestMethod]
    public void Train_OnAnyNumberOfRanks_GivesTheSameModel()
    {
        using var folder = new TempFolder();
        Data(folder["data"]);
        var one = Train(1, folder["data"], () => new Tied());
        foreach (var worldSize in (int[])[2, 3])
        {
            var run = Train(worldSize, folder["data"], () => new Tied());
            Assert.HasCount(one.Losses.Length, run.Losses);
            for (var i = 0; i < one.Losses.Length; i++)
                Assert.AreEqual(one.Losses[i], run.Losses[i], 1e-4 * one.Losses[i]);
        }

        Assert.IsLessThan(0.5 * one.Losses[0], one.Losses[^1], "It does not learn.");
    }

    [TestMethod]
    public void Train_TiedFrozenAndUnusedParameters_AreOnceLeftAloneAndUnchanged()
    {
        using var folder = new TempFolder();
        Data(folder["data"]);
        var tensors = Train(2, folder["data"], () => new Tied()).Tensors;
        CollectionAssert.AreEquivalent((string[])["first.weight", "first.bias", "second.bias", "last.weight", "last.bias", "unused.weight", "unused.bias"], tensors.Keys.ToArray());

        RankTraining.Preload();
        random.manual_seed(11);
        using var scope = NewDisposeScope();
        using var before = new Tied();
        CollectionAssert.AreEqual(before.Unused.weight!.data<float>().ToArray(), tensors["unused.weight"]);
        CollectionAssert.AreNotEqual(before.First.weight!.data<float>().ToArray(), tensors["first.weight"]);
    }

    [TestMethod, DataRow(1), DataRow(3)]
    public void Train_TiedFrozenAndSometimesUsedParameters_AreThoseOfLibtorchsOwnLoop(int worldSize)
    {
        const int Epochs = 9;
        using var folder = new TempFolder();
        Data(folder["data"]);
        // All rows are one batch: their order does not matter.
        var spec = Cluster.Spec(s => (s.Epochs, s.GlobalBatchSize, s.Optimizer.WeightDecay) = (Epochs, RowCount, 0));
        var tensors = Cluster.Train(spec, worldSize, folder["data"], configure: r => r.Value with { Module = s => new TorchModuleSource(() => new Sometimes(), s.Seed) }).ShouldSucceed().Tensors;

        random.manual_seed((long)spec.Seed);
        using var scope = NewDisposeScope();
        using var module = new Sometimes();
        var frozen = module.Tied.Frozen.weight!.data<float>().ToArray();
        var features = tensor(Enumerable.Range(0, RowCount).SelectMany(Features).ToArray()).view(RowCount, 5);
        var labels = tensor(Enumerable.Range(0, RowCount).Select(i => (long)Label(i)).ToArray());
        var optimizer = optim.SGD(module.parameters().Where(p => p.requires_grad), spec.Optimizer.LearningRate, momentum: spec.Optimizer.Sgd.Momentum);
        for (var step = 0; step < Epochs; step++)
        {
            // Gradients that are zero rather than missing: what has momentum goes on moving in a step without it.
            foreach (var parameter in module.parameters())
                parameter.grad?.zero_();
            functional.cross_entropy(module.call(features), labels).backward();
            optimizer.step();
        }

        foreach (var (name, parameter) in module.named_parameters().Where(p => tensors.ContainsKey(p.name)))
        {
            var expected = parameter.data<float>().ToArray();
            for (var i = 0; i < expected.Length; i++)
                Assert.AreEqual(expected[i], tensors[name][i], 1e-5f, $"{name}[{i}]");
        }

        Assert.IsTrue(tensors.ContainsKey("sometimes.weight"));
        CollectionAssert.AreEqual(frozen, module.Tied.Frozen.weight!.data<float>().ToArray());
    }

    [TestMethod]
    public void Train_ModuleWithDropoutTwice_DropsTheSame()
    {
        using var folder = new TempFolder();
        Data(folder["data"]);
        var runs = Enumerable.Range(0, 2).Select(_ => Train(1, folder["data"], () => Sequential(Linear(5, 16), Dropout(0.5), Linear(16, 3)))).ToArray();
        CollectionAssert.AreEqual(runs[0].Losses, runs[1].Losses);
        var without = Train(1, folder["data"], () => Sequential(Linear(5, 16), Dropout(0), Linear(16, 3)));
        CollectionAssert.AreNotEqual(without.Losses, runs[0].Losses);
    }

    [TestMethod]
    public void Train_SameModuleAsTheBuiltInOne_HasTheSameLosses()
    {
        using var folder = new TempFolder();
        Data(folder["data"]);
        var spec = Cluster.Spec();
        var builtIn = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        var module = Cluster.Train(spec, 2, folder["data"], configure: r => r.Value with { Module = s => new SameStart(new MlpSource(s.Module.Mlp, s.Seed), new TorchModuleSource(() => Sequential(Linear(5, 16), ReLU(), Linear(16, 12), ReLU(), Linear(12, 3)), s.Seed)) }).ShouldSucceed();
        CollectionAssert.AreEqual(builtIn.Losses, module.Losses);
    }

    [TestMethod]
    public void Train_BatchNormAndDropoutOnAnyNumberOfRanks_GivesTheSameModelAndStatistics()
    {
        using var folder = new TempFolder();
        Data(folder["data"]); // 100 rows in batches of 33: the last is of one row, which all ranks but the first lack
        var runs = new[] { 1, 2, 3 }.Select(worldSize => Cluster.Train(
            Cluster.Spec(s => (s.Epochs, s.GlobalBatchSize) = (4, 33)), worldSize, folder["data"],
            configure: r => r.Value with { Module = s => new TorchModuleSource(() => Sequential(Linear(5, 16), BatchNorm1d(16), ReLU(), Dropout(0.3), Linear(16, 3)), s.Seed) }).ShouldSucceed()).ToArray();
        foreach (var run in runs.Skip(1))
        {
            for (var i = 0; i < runs[0].Losses.Length; i++)
                Assert.AreEqual(runs[0].Losses[i], run.Losses[i], 1e-3 * runs[0].Losses[i], $"step {i + 1}");
            foreach (var (name, values) in runs[0].Tensors)
                for (var i = 0; i < values.Length; i++)
                    Assert.AreEqual(values[i], run.Tensors[name][i], 2e-3f, $"{name}[{i}]");
        }

        Assert.IsTrue(runs[0].Tensors["1.running_var"].Any(v => Math.Abs(v - 1) > 0.01f), "The statistics do not run.");
    }

    [TestMethod]
    public void Train_ModuleWithDisposeScopesOfItsOwn_TrainsTheSameOnTwoRanks()
    {
        using var folder = new TempFolder();
        Data(folder["data"]);
        var runs = new[] { 1, 2 }.Select(worldSize => Train(worldSize, folder["data"], () => new TorchModules.ResidualNet(new TorchModules.NetOptions(5, 3)))).ToArray();
        for (var i = 0; i < 8; i++)
            Assert.AreEqual(runs[0].Losses[i], runs[1].Losses[i], 1e-3 * runs[0].Losses[i], $"step {i + 1}");
        Assert.IsLessThan(0.5 * runs[0].Losses[0], runs[1].Losses.Min());
    }

    [TestMethod]
    public void Train_BatchNormOnTwoRanks_IsThatOfLibtorchsOwnLoop()
    {
        const int Epochs = 5;
        using var folder = new TempFolder();
        Data(folder["data"]);
        static Module<Tensor, Tensor> Make() => Sequential(Unflatten(1, [5, 1]), BatchNorm1d(5), Flatten(), Linear(5, 8), BatchNorm1d(8), ReLU(), Linear(8, 3));
        var spec = Cluster.Spec(s => (s.Epochs, s.GlobalBatchSize, s.Optimizer.WeightDecay) = (Epochs, RowCount, 0));
        var tensors = Cluster.Train(spec, 2, folder["data"], configure: r => r.Value with { Module = s => new TorchModuleSource(Make, s.Seed) }).ShouldSucceed().Tensors;

        random.manual_seed((long)spec.Seed);
        using var scope = NewDisposeScope();
        using var module = Make();
        var features = tensor(Enumerable.Range(0, RowCount).SelectMany(Features).ToArray()).view(RowCount, 5);
        var labels = tensor(Enumerable.Range(0, RowCount).Select(i => (long)Label(i)).ToArray());
        var optimizer = optim.SGD(module.parameters(), spec.Optimizer.LearningRate, momentum: spec.Optimizer.Sgd.Momentum);
        for (var step = 0; step < Epochs; step++)
        {
            optimizer.zero_grad();
            functional.cross_entropy(module.call(features), labels).backward();
            optimizer.step();
        }

        foreach (var (name, expected) in module.named_parameters().Select(p => (p.name, (Tensor)p.parameter)).Concat(module.named_buffers().Where(b => b.buffer.dtype == ScalarType.Float32)))
        {
            var values = expected.data<float>().ToArray();
            for (var i = 0; i < values.Length; i++)
                Assert.AreEqual(values[i], tensors[name][i], 1e-4f, $"{name}[{i}]");
        }
    }

    private static void Data(string path) => Datasets.Write(path, 5, RowCount, Features, Label);

    private static float[] Features(int row) => [row % 3, row % 7 / 7f, row % 5 / 5f, 1, -(row % 3)];

    private static float Label(int row) => row % 3;

    private static Run Train(int worldSize, string path, Func<Module<Tensor, Tensor>> make) =>
        Cluster.Train(Cluster.Spec(s => (s.Epochs, s.Optimizer.WeightDecay) = (8, 0)), worldSize, path, configure: r => r.Value with { Module = s => new TorchModuleSource(make, s.Seed) }).ShouldSucceed();

    // One layer used twice, one frozen, one never used.
    private sealed class Tied : Module<Tensor, Tensor>
    {
        public readonly TorchSharp.Modules.Linear First = Linear(5, 5);
        public readonly TorchSharp.Modules.Linear Unused = Linear(2, 2);
        public readonly TorchSharp.Modules.Linear Frozen = Linear(5, 5);
        private readonly TorchSharp.Modules.Linear _second = Linear(5, 5);
        private readonly TorchSharp.Modules.Linear _last = Linear(5, 3);

        public Tied() : base(nameof(Tied))
        {
            _second.weight = First.weight;
            foreach (var parameter in Frozen.parameters())
                parameter.requires_grad_(false);
            register_module("first", First);
            register_module("second", _second);
            register_module("frozen", Frozen);
            register_module("last", _last);
            register_module("unused", Unused);
        }

        public override Tensor forward(Tensor x) => _last.call(x + Frozen.call(_second.call(functional.relu(First.call(x)))));
    }

    // And one that two steps of three use.
    private sealed class Sometimes : Module<Tensor, Tensor>
    {
        public readonly Tied Tied = new();
        private readonly TorchSharp.Modules.Linear _sometimes = Linear(5, 3);
        private int _steps;

        public Sometimes() : base(nameof(Sometimes))
        {
            register_module("tied", Tied);
            register_module("sometimes", _sometimes);
        }

        public override Tensor forward(Tensor x) => _steps++ % 3 == 1 ? Tied.call(x) : Tied.call(x) + _sometimes.call(x);
    }

    // The layout of one, started with the values of the other: the order of the tensors is the same.
    private sealed unsafe class SameStart(IModuleSource values, IModuleSource module) : IModuleSource
    {
        public FlatLayout Layout => module.Layout;

        public ModelProto WriteOnnx(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors) => module.WriteOnnx(spec, tensors);

        public void Initialize(float* parameters) => values.Initialize(parameters);

        public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, StatisticsJoin ranks, Action<long>? gradientsReady) => module.Create(parameters, gradients, maxRows, ranks, gradientsReady);
    }
}
