using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class AutomaticOptionsTests
{
    [TestMethod]
    [DataRow(1L, 32)]
    [DataRow(1_437L, 32)]
    [DataRow(2_600L, 64)]
    [DataRow(60_000L, 256)]
    [DataRow(5_000_000_000L, 256)]
    public void BatchSize_LeftOpen_FollowsTheRows(long rows, int expected) => Assert.AreEqual(expected, AutomaticOptions.BatchSize(rows));

    [TestMethod]
    [DataRow(3_200L, 32)]
    [DataRow(320_000L, 256)]
    public void WeightDecay_OfAdamW_ForgetsOverFiveEpochs(long rows, int batchSize)
    {
        var optimizer = new OptimizerSpec { LearningRate = 3e-3, Adamw = new AdamWSpec() };

        var stepsToForget = 1 / (optimizer.LearningRate * AutomaticOptions.WeightDecay(optimizer, rows, batchSize));

        Assert.AreEqual(5 * rows / (double)batchSize, stepsToForget, 1e-6);
    }

    [TestMethod]
    public void Complete_GivenOptions_KeepsThem()
    {
        var spec = new JobSpec { Data = new DataSpec { RowCount = 100_000 }, Optimizer = new OptimizerSpec { LearningRate = 0.1, Sgd = new SgdSpec() } };

        AutomaticOptions.Complete(spec, new DistributedRegressionTrainer.Options { BatchSize = 7, WeightDecay = 0.25 });

        Assert.AreEqual((7, 0.25), (spec.GlobalBatchSize, spec.Optimizer.WeightDecay));
    }
}
