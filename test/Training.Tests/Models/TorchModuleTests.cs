using MLDistributed.Collectives;
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
    public void Train_ModuleWithRunningStatistics_IsRefused()
    {
        using var folder = new TempFolder();
        Data(folder["data"]);
        var run = Cluster.Train(Cluster.Spec(), 1, folder["data"], configure: r => r.Value with { Module = s => new TorchModuleSource(() => Sequential(Linear(5, 3), BatchNorm1d(3)), s.Seed) });
        StringAssert.Contains(run.Failures[0]!.Message, "Module has a buffer \"1.running_mean\", expected none");
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

        public void Initialize(float* parameters) => values.Initialize(parameters);

        public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, ICollective collective, Action<long>? gradientsReady) => module.Create(parameters, gradients, maxRows, collective, gradientsReady);
    }
}
