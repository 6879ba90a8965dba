using MLDistributed.Collectives.Nccl;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Training;
using MLDistributed.Training.Models;
using Training.Tests.Loop;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Training.Tests.Devices;

/// <summary>Batch normalisation and dropout of modules whose ranks stay on their devices, beside the usual way.</summary>
[TestClass]
public sealed class DeviceStatisticsTests
{
    private const int Rows = 100;

    private static readonly Dictionary<string, (Func<IModuleSource> Module, int Norms)> s_modules = new()
    {
        ["linear layers, dropout"] = (() => new TorchModuleSource(() => Sequential(Linear(5, 16), BatchNorm1d(16), ReLU(), Dropout(0.3), Linear(16, 3)), 3), 1),
        ["convolutions, without weights, mean of all steps"] = (() => new TorchModuleSource(() => Sequential(Unflatten(1, [1, 5]), Conv1d(1, 4, 3, padding: 1), BatchNorm1d(4, affine: false), ReLU(), Conv1d(4, 4, 3), BatchNorm1d(4, momentum: 0), Flatten(), Linear(12, 3)), 3), 2),
        ["a built-in network"] = (() => new MlpSource(Norm(Cluster.Spec()).Module.Mlp, 3), 2),
    };

    // The last batch is of one row, which all ranks but the first lack; where it is all there is, libtorch has no kernel for it.
    public static IEnumerable<object[]> Modules => from name in s_modules.Keys from world in new[] { 1, 2, 3 } from batch in new[] { 33, 100 } select new object[] { name, world, batch };

    [TestMethod, DynamicData(nameof(Modules))]
    public void Train_OnDevices_HasTheUsualModelAndStatistics(string name, int world, int batch)
    {
        using var folder = Data();
        var spec = Norm(Cluster.Spec(s => (s.Epochs, s.GlobalBatchSize, s.Data.ValidationFraction) = (3, batch, 0)));
        NcclStandIn.Require();
        var (module, norms) = s_modules[name];
        var usual = Cluster.Train(spec, world, folder["data"], configure: r => r.Value with { Module = _ => module() }).ShouldSucceed();
        var before = NcclStandIn.Sums;
        var devices = Cluster.Train(spec, world, folder["data"], configure: r => SeveralDevicesTests.OnDevices(r.Value) with { Module = _ => module() }).ShouldSucceed();

        Near(usual.Losses, devices.Losses, "losses");
        foreach (var (tensor, values) in usual.Tensors)
            Near(values.Select(v => (double)v), devices.Tensors[tensor].Select(v => (double)v), tensor);
        Assert.IsTrue(usual.Tensors.Any(t => t.Key.EndsWith("running_var", StringComparison.Ordinal) && t.Value.Any(v => Math.Abs(v - 1) > 0.01f)), "The statistics do not run.");
        // Losses, and two for each norm: all of it went from device to device, as did gradients.
        var steps = usual.Losses.Length;
        Assert.AreEqual(world == 1 ? 0 : world * steps * (1 + (2 * norms)), NcclStandIn.Sums - before);
        Assert.AreEqual(0, NcclStandIn.Alive);
    }

    // What runs on is in checkpoints, of either kind.
    [TestMethod, DataRow(true, 1, 2), DataRow(false, 2, 1), DataRow(true, 2, 3)]
    public void Resume_FromTheOtherKindsCheckpoint_HasTheStatistics(bool beginsOnDevices, int world, int nextWorld)
    {
        using var folder = Data();
        var spec = Cluster.Spec(s =>
        {
            (s.Epochs, s.GlobalBatchSize, s.Data.ValidationFraction) = (4, 20, 0.2);
            s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 1e-9 };
        });
        var whole = Run(beginsOnDevices, world, null).ShouldSucceed();
        foreach (var step in (long[])[3, 8])
        {
            File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints.First(c => c.Step == step).Content);
            var rest = Run(!beginsOnDevices, nextWorld, folder["checkpoint"]).ShouldSucceed();
            Near(whole.Losses[^rest.Losses.Length..], rest.Losses, "losses");
            Near(whole.Result.History.Skip((int)(step / 4)).Select(e => e.ValidationLoss), rest.Result.History.Skip((int)(step / 4)).Select(e => e.ValidationLoss), "validation");
            foreach (var (tensor, values) in whole.Tensors)
                Near(values.Select(v => (double)v), rest.Tensors[tensor].Select(v => (double)v), tensor);
        }

        Run Run(bool onDevices, int ranks, string? from) => Cluster.Train(spec, ranks, folder["data"], from, configure: r =>
            (onDevices ? SeveralDevicesTests.OnDevices(r.Value) : r.Value) with { Module = _ => s_modules["linear layers, dropout"].Module() });
    }

    [TestMethod]
    public void Train_NcclFailsInANormsBackward_IsToldByItsRank()
    {
        using var folder = Data();
        NcclStandIn.Require();
        // The sums of a step are two of the norm, the gradients and the losses.
        NcclStandIn.Fail(rank: 0, after: 1 + (4 * 5));
        try
        {
            var run = Cluster.Train(Cluster.Spec(s => s.Epochs = 1000), 2, folder["data"], configure: r => SeveralDevicesTests.OnDevices(r.Value) with { Module = _ => s_modules["linear layers, dropout"].Module() });
            StringAssert.StartsWith(run.Failures[0]!.Message, "NCCL has error 6, \"remote process exited");
            StringAssert.Contains(run.Failures[1]!.Message, "rank 0 aborted");
        }
        finally
        {
            NcclStandIn.Fail(-1);
        }

        Assert.AreEqual(0, NcclStandIn.Alive);
    }

    private static JobSpec Norm(JobSpec spec)
    {
        spec.Module.Mlp.Normalization = LayerNormalization.Batch;
        return spec;
    }

    private static TempFolder Data()
    {
        var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, Rows, i => [i % 3, i % 7 / 7f, i % 5 / 5f, 1, -(i % 3)], i => i % 3);
        return folder;
    }

    private static void Near(IEnumerable<double> expected, IEnumerable<double> actual, string what)
    {
        var (e, a) = (expected.ToArray(), actual.ToArray());
        Assert.HasCount(e.Length, a);
        for (var i = 0; i < e.Length; i++)
            Assert.AreEqual(e[i], a[i], 1e-3 * Math.Max(1, Math.Abs(e[i])), $"{what}[{i}]");
    }
}
