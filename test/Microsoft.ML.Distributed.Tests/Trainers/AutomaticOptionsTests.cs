using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class AutomaticOptionsTests
{
    [TestMethod]
    [DataRow(1L, 4)]
    [DataRow(120L, 8)]
    [DataRow(319L, 16)]
    [DataRow(320L, 32)]
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
    [DataRow(2_000L, 0.149, 32, 20.0), DataRow(16_000L, 0.11, 64, 20.0), DataRow(40_000L, 0.0, 128, 20.0), DataRow(5_000_000L, 0.1, 256, 20.0)]
    [DataRow(1_999L, 0.01, 32, 5.0), DataRow(16_000L, 0.15, 256, 5.0), DataRow(16_000L, 0.9, 256, 5.0), DataRow(16_000L, null, 256, 5.0)]
    public void Complete_RowsThatTellTheirLabels_GetMoreStepsAndForgetLater(long rows, double? noise, int batchSize, double epochs)
    {
        var options = new DistributedRegressionTrainer.Options { ValidationFraction = 0 };
        var spec = new JobSpec { Data = new DataSpec { RowCount = rows }, Optimizer = options.Optimizer.ToSpec() };
        spec.Optimizer.LearningRate = 3e-3;

        AutomaticOptions.Complete(spec, options, noise: noise);

        Assert.AreEqual(batchSize, spec.GlobalBatchSize);
        Assert.AreEqual(epochs, 1 / (3e-3 * spec.Optimizer.WeightDecay * Math.Ceiling(rows / (double)batchSize)), 1e-6);
    }

    [TestMethod]
    [DataRow(1_999L, 0.0, 0)]
    [DataRow(2_000L, 0.1, 10)]
    [DataRow(200_000L, 0.1, 10)]
    [DataRow(2_000_000L, 0.01, 10)]
    public void Complete_ValidationLeftOpen_HoldsOutOfMediumAndLargeData(long rows, double fraction, int patience)
    {
        var spec = Complete(rows, new DistributedRegressionTrainer.Options());

        Assert.AreEqual((fraction, patience), (spec.Data.ValidationFraction, spec.EarlyStopping?.PatienceEpochs ?? 0));
    }

    [TestMethod]
    public void Complete_ValidationFractionOf0_HoldsNothingOut()
    {
        var spec = Complete(100_000, new DistributedRegressionTrainer.Options { ValidationFraction = 0 });

        Assert.AreEqual((0.0, null), (spec.Data.ValidationFraction, spec.EarlyStopping));
    }

    [TestMethod]
    public void Complete_ValidationFractionAlone_TrainsAllEpochs()
    {
        var spec = Complete(100_000, new DistributedRegressionTrainer.Options { ValidationFraction = 0.3 });

        Assert.AreEqual((0.3, null), (spec.Data.ValidationFraction, spec.EarlyStopping));
    }

    [TestMethod]
    public void Complete_ValidationSet_HoldsNothingOutBesideIt()
    {
        var rows = new MLContext().Data.LoadFromEnumerable(new[] { new { Label = 1f } });

        var spec = Complete(100_000, new DistributedRegressionTrainer.Options { ValidationSet = rows });

        Assert.AreEqual((0.0, null), (spec.Data.ValidationFraction, spec.EarlyStopping));
    }

    [TestMethod]
    public void Complete_EarlyStoppingAlone_HoldsOutOfFewRowsToo()
    {
        var spec = Complete(100, new DistributedRegressionTrainer.Options { EarlyStopping = new EarlyStopping { PatienceEpochs = 3 } });

        Assert.AreEqual((0.1, 3), (spec.Data.ValidationFraction, spec.EarlyStopping.PatienceEpochs));
    }

    [TestMethod]
    public void Complete_GivenOptions_KeepsThem()
    {
        var spec = Complete(100_000, new DistributedRegressionTrainer.Options { BatchSize = 7, WeightDecay = 0.25 });

        Assert.AreEqual((7, 0.25), (spec.GlobalBatchSize, spec.Optimizer.WeightDecay));
    }

    private static JobSpec Complete(long rows, NeuralNetworkOptions options)
    {
        var spec = new JobSpec
        {
            Data = new DataSpec { RowCount = rows, ValidationFraction = options.ValidationFraction ?? 0 },
            Optimizer = new OptimizerSpec { LearningRate = 0.1, Sgd = new SgdSpec() },
            EarlyStopping = options.EarlyStopping?.ToSpec(),
        };
        AutomaticOptions.Complete(spec, options);
        return spec;
    }
}
