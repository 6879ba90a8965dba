using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests.Cluster;

[TestClass]
public sealed class LocalCapacityTests
{
    private const long Memory = 8L << 30;

    [TestMethod]
    [DataRow(256, 1_000_000L, 0L, false, DisplayName = "a small batch of much data")]
    [DataRow(int.MaxValue, 300L, 0L, false, DisplayName = "a huge batch of little data")]
    [DataRow(int.MaxValue, 10_000_000L, 0L, true, DisplayName = "all of much data")]
    [DataRow(int.MaxValue, 300L, 10_000_000L, true, DisplayName = "all of a large validation set")]
    public void Refusal_OfABatch_ComesWhenItsRowsDoNotFit(int batch, long rows, long validationRows, bool refused)
    {
        var spec = Spec(batch, rows, validationRows);

        Assert.AreEqual(refused, LocalCapacity.IsAsked(spec));
        if (refused)
            StringAssert.StartsWith(LocalCapacity.Refusal(spec, [Cpu(Memory)]), "BatchSize is 2,147,483,647: a step's 10,000,000 rows take at least");
        else
            Assert.IsNull(LocalCapacity.Refusal(spec, [Cpu(Memory)]));
    }

    [TestMethod]
    [DataRow(100, false)]
    [DataRow(20_000, true)]
    public void Refusal_OfAModule_ComesWhenItsParametersDoNotFit(int width, bool refused)
    {
        var spec = Spec(256, 1_000_000, 0);
        spec.Module.Mlp.HiddenSizes.Add([width, width]);

        Assert.AreEqual(refused, LocalCapacity.IsAsked(spec));
        if (refused)
            StringAssert.StartsWith(LocalCapacity.Refusal(spec, [Cpu(4L << 30)]), "Module takes at least 6.0 GiB to train, expected at most the 4.0 GiB of the machine.");
        else
            Assert.IsNull(LocalCapacity.Refusal(spec, [Cpu(4L << 30)]));
    }

    [TestMethod]
    [DataRow(2, false, "")]
    [DataRow(3, true, "")]
    [DataRow(3, false, "MinRanks is 3, expected at most 2: the local cluster has 3 GPU slots. Lower MinRanks, or take GPUs of several models (MixedDevices).")]
    [DataRow(4, true, "MinRanks is 4, expected at most 3: the local cluster has 3 GPU slots. Lower MinRanks, or start one with LocalClusterOptions.Slots.")]
    public void Refusal_OfGpus_CountsThoseOfOneModelUnlessTheyMayBeMixed(int ranks, bool mixes, string expected)
    {
        var spec = Spec(256, 1_000, 0);
        spec.Resources = new ResourceSpec { Device = DeviceKind.Cuda, MinRanks = ranks, MixedDevices = mixes };

        Assert.AreEqual(expected, LocalCapacity.Refusal(spec, [Gpu("A"), Gpu("A"), Gpu("B")]) ?? "");
    }

    [TestMethod]
    public void Refusal_MemoryUnknown_IsLeftToTheRank() => Assert.IsNull(LocalCapacity.Refusal(Spec(int.MaxValue, 10_000_000, 0), [Cpu(0)]));

    private static JobSpec Spec(int batch, long rows, long validationRows) => new()
    {
        Task = MlTask.Regression,
        GlobalBatchSize = batch,
        Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = 100, OutputSize = 1, HiddenSizes = { 256 } } },
        Data = new DataSpec { RowCount = rows, ValidationRowCount = validationRows },
    };

    private static Device Gpu(string model) => new() { Kind = DeviceKind.Cuda, Name = model };

    private static Device Cpu(long memory) => new() { Kind = DeviceKind.Cpu, MemoryBytes = memory };
}
