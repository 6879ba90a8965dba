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

    private static void Data(string path) => Datasets.Write(path, 5, 100, i => [i % 3, i % 7 / 7f, i % 5 / 5f, 1, -(i % 3)], i => i % 3);

    private static Run Train(int worldSize, string path, Func<Module<Tensor, Tensor>> make) =>
        Cluster.Train(Cluster.Spec(s => (s.Epochs, s.Optimizer.WeightDecay) = (8, 0)), worldSize, path, configure: r => r.Value with { Module = s => new TorchModuleSource(make, s.Seed) }).ShouldSucceed();

    // One layer used twice, one frozen, one never used.
    private sealed class Tied : Module<Tensor, Tensor>
    {
        public readonly TorchSharp.Modules.Linear First = Linear(5, 5);
        public readonly TorchSharp.Modules.Linear Unused = Linear(2, 2);
        private readonly TorchSharp.Modules.Linear _second = Linear(5, 5);
        private readonly TorchSharp.Modules.Linear _frozen = Linear(5, 5);
        private readonly TorchSharp.Modules.Linear _last = Linear(5, 3);

        public Tied() : base(nameof(Tied))
        {
            _second.weight = First.weight;
            foreach (var parameter in _frozen.parameters())
                parameter.requires_grad_(false);
            register_module("first", First);
            register_module("second", _second);
            register_module("frozen", _frozen);
            register_module("last", _last);
            register_module("unused", Unused);
        }

        public override Tensor forward(Tensor x) => _last.call(x + _frozen.call(_second.call(functional.relu(First.call(x)))));
    }

    // The layout of one, started with the values of the other: the order of the tensors is the same.
    private sealed unsafe class SameStart(IModuleSource values, IModuleSource module) : IModuleSource
    {
        public FlatLayout Layout => module.Layout;

        public void Initialize(float* parameters) => values.Initialize(parameters);

        public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, ICollective collective, Action<long>? gradientsReady) => module.Create(parameters, gradients, maxRows, collective, gradientsReady);
    }
}
