using Microsoft.ML.Distributed;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Models;
using TorchModules;
using TorchSharp;
using TorchSharp.Modules;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Models;

[TestClass]
public sealed class ParameterGroupsTests
{
    private const int RowCount = 60;
    private const int Epochs = 12;
    private static readonly NetOptions s_options = new(5, 3, 8);

    [TestMethod]
    [DataRow(false, 1, "shared"), DataRow(false, 3, "shared"), DataRow(false, 1, "device"), DataRow(false, 2, "exact")]
    [DataRow(true, 2, "shared"), DataRow(true, 1, "device")]
    public void Train_Groups_AreThoseOfLibtorchsOwnOptimizer(bool isAdamW, int worldSize, string strategy)
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, RowCount, Features, Label);
        var spec = Cluster.Spec(s =>
        {
            (s.Epochs, s.GlobalBatchSize, s.Optimizer.WeightDecay) = (Epochs, RowCount, 0.02); // all rows are one batch
            if (isAdamW)
                s.Optimizer.Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-8 };
            if (strategy == "exact")
                s.BitExact = new BitExactSpec { MicroBatches = 4 };
        });
        var tensors = Cluster.Train(spec, worldSize, folder["data"], configure: r => r.Value with
        {
            OnDevice = strategy == "device",
            Module = s => new TorchModuleSource(() => new GroupedNet(s_options), s.Seed),
        }).ShouldSucceed().Tensors;

        random.manual_seed((long)spec.Seed);
        using var scope = NewDisposeScope();
        using var module = new GroupedNet(s_options);
        var features = tensor(Enumerable.Range(0, RowCount).SelectMany(Features).ToArray()).view(RowCount, 5);
        var labels = tensor(Enumerable.Range(0, RowCount).Select(i => (long)Label(i)).ToArray());
        var named = module.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        // The head's bias is in no group, and biases do not decay.
        var optimizers = new[] { Of(0.25, 0.1, "body.weight", "body.bias"), Of(1, 0, "head.weight"), Of(1, 0, "head.bias") };
        for (var step = 0; step < Epochs; step++)
        {
            foreach (var parameter in named.Values)
                parameter.grad?.zero_();
            nn.functional.cross_entropy(module.call(features), labels).backward();
            foreach (var optimizer in optimizers)
                optimizer.step();
        }

        CollectionAssert.AreEquivalent((string[])["body.weight", "body.bias", "head.weight", "head.bias"], tensors.Keys.ToArray());
        foreach (var (name, values) in tensors)
        {
            var expected = named[name].data<float>().ToArray();
            for (var i = 0; i < expected.Length; i++)
                Assert.AreEqual(expected[i], values[i], isAdamW ? 1e-4f : 1e-5f, $"{name}[{i}]");
        }

        optim.Optimizer Of(double factor, double decay, params string[] names) => isAdamW
            ? optim.AdamW(names.Select(n => named[n]), spec.Optimizer.LearningRate * factor, 0.9, 0.99, 1e-8, decay)
            : optim.SGD(names.Select(n => named[n]), spec.Optimizer.LearningRate * factor, spec.Optimizer.Sgd.Momentum, weight_decay: decay);
    }

    public static IEnumerable<object[]> Bad =>
    [
        [new ParameterGroup[] { new("hed.*") }, "Name \"hed.*\" of group \"hed.*\" of module \"Grouped\" names no parameter, expected some of \"stem.weight\", \"stem.bias\", "],
        [new ParameterGroup[] { new(_ => false) }, "Group of a function of module \"Grouped\" has no parameter"],
        [new ParameterGroup[] { new() }, "Group without names of module \"Grouped\" has no parameter"],
        [new ParameterGroup[] { new("head.*"), new("*.bias") }, "Parameter \"head.bias\" of module \"Grouped\" is in the groups \"head.*\" and \"*.bias\" of its ConfigureOptimizer"],
        [new ParameterGroup[] { new("head.bias", "head.bias") }, "Name \"head.bias\" of group \"head.bias\", \"head.bias\" of module \"Grouped\" is there twice"],
        [new ParameterGroup[] { new("head.*") { LearningRateFactor = 0 } }, "LearningRateFactor of group \"head.*\" of module \"Grouped\" is 0, expected a number from 1E-12"],
        [new ParameterGroup[] { new("head.*") { LearningRateFactor = double.NaN } }, "LearningRateFactor of group \"head.*\" of module \"Grouped\" is NaN"],
        [new ParameterGroup[] { new("head.*") { WeightDecay = -1 } }, "WeightDecay of group \"head.*\" of module \"Grouped\" is -1"],
        [new ParameterGroup[] { new("head.*") { IsFrozen = true, WeightDecay = 0.1 } }, "IsFrozen of group \"head.*\" of module \"Grouped\" is true beside"],
        [new ParameterGroup[] { null! }, "returned null from its ConfigureOptimizer"],
        [null!, "returned null from its ConfigureOptimizer"],
        [new ParameterGroup[] { new(_ => throw new InvalidOperationException("no such part")) }, "Module \"Grouped\" failed in its ConfigureOptimizer: InvalidOperationException: no such part"],
    ];

    [TestMethod]
    [DynamicData(nameof(Bad))]
    public void Source_GroupsThatNoOptimizerTakes_AreRefusedBeforeTheFirstStep(ParameterGroup[] groups, string message)
    {
        RankTraining.Preload();
        using var scope = NewDisposeScope();
        var e = Assert.ThrowsExactly<UserModuleException>(() => new TorchModuleSource(() => new Grouped(groups), 1));
        StringAssert.Contains(e.Message, message);
    }

    private static float[] Features(int row) => [row % 3, row % 7 / 7f, row % 5 / 5f, 1, -(row % 3)];

    private static float Label(int row) => row % 3;

    private sealed class Grouped(ParameterGroup[] groups) : GroupedNet(s_options)
    {
        public override IEnumerable<ParameterGroup> ConfigureOptimizer() => groups;
    }
}
