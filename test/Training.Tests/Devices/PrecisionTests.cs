using MLDistributed.Protocol;
using Training.Tests.Loop;
using TorchSharp;

namespace Training.Tests.Devices;

/// <summary>What layers compute in.</summary>
[TestClass]
public sealed class PrecisionTests
{
    private static readonly Dictionary<string, Action<JobSpec>> s_cases = new()
    {
        ["plain"] = _ => { },
        ["dropout, layer norm, gelu"] = s => (s.Module.Mlp.Dropout, s.Module.Mlp.Normalization, s.Module.Mlp.Activation) = (0.1, LayerNormalization.Layer, Activation.Gelu),
        ["batch norm"] = s => s.Module.Mlp.Normalization = LayerNormalization.Batch,
        ["micro-batches"] = s => s.MaxMicroBatchSize = 5,
        ["large layers"] = s =>
        {
            s.Module.Mlp.HiddenSizes.Clear();
            s.Module.Mlp.HiddenSizes.Add([512, 512]);
            s.Epochs = 3;
        },
        ["large layers, batch norm"] = s =>
        {
            s.Module.Mlp.HiddenSizes.Clear();
            s.Module.Mlp.HiddenSizes.Add([512, 512]);
            s.Module.Mlp.Normalization = LayerNormalization.Batch;
            s.Epochs = 3;
        },
    };

    public static IEnumerable<object[]> Cases => s_cases.Keys.Select(k => new object[] { k });

    [TestMethod, DynamicData(nameof(Cases))]
    public void Train_InBFloat16_LossIsNearFloat32s(string name)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 200);
        var spec = Cluster.Spec(s => (s.Epochs, s.Data.ValidationFraction) = (8, 0.2));
        s_cases[name](spec);
        var wide = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        spec.Precision = Precision.BFloat16;
        var narrow = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        var onDevice = Cluster.Train(spec, 1, folder["data"], configure: e => e.Value with { OnDevice = true }).ShouldSucceed();

        CollectionAssert.AreNotEqual(wide.Losses, narrow.Losses, "It computes as before.");
        foreach (var run in (Run[])[narrow, onDevice])
        {
            Assert.HasCount(wide.Losses.Length, run.Losses);
            for (var i = 0; i < wide.Losses.Length; i++)
                Assert.AreEqual(wide.Losses[i], run.Losses[i], 0.03, $"step {i + 1}");
            Assert.AreEqual(wide.Result.ValidationLoss, run.Result.ValidationLoss, 0.03);
            Assert.IsLessThan(wide.Losses[0] * 0.95, run.Losses[^5..].Average(), "Nothing was learnt.");
        }

        // Master weights are finer than what layers see of them.
        Assert.IsTrue(narrow.Tensors["layers.0.weight"].Any(w => (BitConverter.SingleToInt32Bits(w) & 0xffff) != 0));
    }

    [TestMethod]
    public void Train_InTensorFloat32_IsAllowedToGpusForThatJobAlone()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 64);
        var wide = Cluster.Train(Cluster.Spec(), 1, folder["data"]).ShouldSucceed();
        Assert.AreEqual((false, false), Allowed());
        var run = Cluster.Train(Cluster.Spec(s => s.Precision = Precision.TensorFloat32), 1, folder["data"]).ShouldSucceed();
        Assert.AreEqual((true, true), Allowed());
        CollectionAssert.AreEqual(wide.Losses, run.Losses, "A CPU has no such thing.");
        Cluster.Train(Cluster.Spec(), 1, folder["data"]).ShouldSucceed();
        Assert.AreEqual((false, false), Allowed());

        static (bool, bool) Allowed() => (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32);
    }
}
