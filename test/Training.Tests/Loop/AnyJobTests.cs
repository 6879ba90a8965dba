using CsCheck;
using MLDistributed.Protocol;

namespace Training.Tests.Loop;

/// <summary>Jobs made up at random: the same on any number of ranks, up to rounding or bit for bit.</summary>
[TestClass]
public sealed class AnyJobTests
{
    private static readonly Gen<OptimizerSpec> s_optimizers = Gen.OneOf(
        Gen.Select(Gen.Double[0, 0.95], Gen.Bool).Select((m, nesterov) => new OptimizerSpec { Sgd = new SgdSpec { Momentum = m, Nesterov = nesterov && m > 0 }, LearningRate = 0.01 }),
        Gen.Const(new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-3 }, LearningRate = 1e-3 }),
        Gen.Const(new OptimizerSpec { Adam = new AdamSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-3 }, LearningRate = 1e-3 }));

    private static readonly Gen<JobSpec> s_jobs = Gen.Select(
        Gen.Int[1, 40].Array[0, 3], Gen.Int[1, 70], Gen.Enum<Activation>(), Gen.Enum<LayerNormalization>(), Gen.Double[0, 0.5], s_optimizers, Gen.Double[0, 0.1], Gen.Double[0, 0.4])
        .Select((hidden, batch, activation, normalization, dropout, optimizer, decay, validation) => Cluster.Spec(s =>
        {
            s.Module.Mlp = new MlpSpec { InputSize = 5, OutputSize = 3, HiddenSizes = { hidden }, Activation = activation, Normalization = normalization, Dropout = dropout };
            s.Optimizer = optimizer.Clone();
            s.Optimizer.WeightDecay = decay;
            s.GlobalBatchSize = batch;
            s.GradientClipNorm = decay > 0.05 ? 0.7 : 0;
            s.Data.ValidationFraction = validation < 0.1 ? 0 : validation;
            s.Epochs = 2;
        }));

    [TestMethod]
    public void Train_AnyJob_IsTheSameOnAnyNumberOfRanks()
    {
        using var folder = new TempFolder();
        Gen.Select(s_jobs, Gen.Int[2, 6], Gen.Int[1, 90], Gen.Bool).Sample((spec, world, rows, weighted) =>
        {
            // A batch norm over a row or two divides by next to nothing, and makes rounding large.
            if (spec.Module.Mlp.Normalization == LayerNormalization.Batch && (spec.GlobalBatchSize < 8 || rows % spec.GlobalBatchSize is > 0 and < 8 || spec.Data.ValidationFraction > 0))
                return;
            Datasets.WriteClouds(folder["data"], rows, weighted ? i => 0.5f + i % 3 : null);
            var one = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
            var many = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
            Assert.HasCount(one.Losses.Length, many.Losses);
            for (var step = 0; step < one.Losses.Length; step++)
                Assert.AreEqual(one.Losses[step], many.Losses[step], 2e-3 * Math.Abs(one.Losses[step]) + 1e-5, $"step {step + 1} of {spec} on {world} ranks, {rows} rows");
            Assert.AreEqual(one.Result.History[^1].TrainingLoss, many.Result.History[^1].TrainingLoss, 1e-2);
        }, iter: 40, threads: 1);
    }

    [TestMethod]
    public void Train_AnyBitExactJob_GivesTheSameBits()
    {
        using var folder = new TempFolder();
        Gen.Select(s_jobs, Gen.Int[2, 9], Gen.Int[1, 90], Gen.Int[1, 32]).Sample((spec, world, rows, parts) =>
        {
            if (spec.Module.Mlp.Normalization == LayerNormalization.Batch)
                spec.Module.Mlp.Normalization = LayerNormalization.None;
            spec.BitExact = new BitExactSpec { MicroBatches = parts };
            Datasets.WriteClouds(folder["data"], rows, i => 0.5f + i % 3);
            var one = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
            var many = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
            CollectionAssert.AreEqual(one.Losses, many.Losses, $"{spec} on {world} ranks, {rows} rows");
            CollectionAssert.AreEqual(one.Weights, many.Weights, $"{spec} on {world} ranks, {rows} rows");
        }, iter: 40, threads: 1);
    }
}
