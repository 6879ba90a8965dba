using System.Security.Cryptography;
using MLDistributed.Protocol;
using MLDistributed.Training;
using Training.Tests.Loop;

namespace Training.Tests.BitExact;

/// <summary>The same bits on any number of ranks, whatever is lost on the way.</summary>
[TestClass]
public sealed class BitExactTests
{
    private const int Trials = 15;

    private static readonly Dictionary<string, Action<JobSpec>> s_cases = new()
    {
        ["sgd"] = _ => { },
        ["large layers, of which one begins in the middle of a cache line"] = s =>
        {
            s.Module.Mlp.HiddenSizes.Clear();
            s.Module.Mlp.HiddenSizes.Add([514, 513]);
        },
        ["categories, adamw"] = s =>
        {
            s.Module.Mlp.Categories.Add([new CategorySpec { KeyCount = 2, Width = 3 }, new CategorySpec { KeyCount = 4, Width = 2 }]);
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 }, LearningRate = 2e-3, WeightDecay = 0.01 };
        },
        ["adamw, averaged weights, clipping, dropout, layer norm, gelu, cosine, smoothing, weights, validation"] = s =>
        {
            s.Module.Mlp.Dropout = 0.2;
            (s.Module.Mlp.Normalization, s.Module.Mlp.Activation) = (LayerNormalization.Layer, Activation.Gelu);
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 }, LearningRate = 2e-3, WeightDecay = 0.01, AveragingDecay = 0.9 };
            s.GradientClipNorm = 0.5;
            s.Schedule = new ScheduleSpec { Kind = ScheduleKind.Cosine, WarmupFraction = 0.1 };
            s.LabelSmoothing = 0.1;
            s.ClassWeights.Add([1f, 2f, 0.5f]);
            s.Data.ValidationFraction = 0.2;
        },
    };

    public static IEnumerable<object[]> Cases => s_cases.Keys.Select(k => new object[] { k });

    [TestMethod, DynamicData(nameof(Cases))]
    public void Train_OnAnyNumberOfRanks_GivesTheSameBits(string name)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 330, i => 0.5f + i % 3);
        var spec = Spec(s_cases[name]);
        var one = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        Assert.IsLessThan(one.Losses[0], one.Losses[^5..].Average(), "Nothing was learnt.");
        foreach (var world in new[] { 2, 3, 4, 6, 8, 11 })
        {
            var run = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
            CollectionAssert.AreEqual(one.Losses, run.Losses, $"{world} ranks");
            Assert.AreEqual(Hash(one), Hash(run), $"{world} ranks");
            Assert.AreEqual(one.Result.ValidationLoss, run.Result.ValidationLoss);
        }
    }

    public static IEnumerable<object[]> Losses => from name in s_cases.Keys from within in new[] { false, true } select new object[] { name, within };

    [TestMethod, DynamicData(nameof(Losses))]
    public void Train_RanksLostThreeTimes_GivesTheSameBitsAndEveryRowOnce(string name, bool checkpointsWithinEpochs)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 330, i => 0.5f + i % 3);
        var spec = Spec(s_cases[name]);
        var whole = Cluster.Train(spec, 4, folder["data"]).ShouldSucceed();
        // After every step.
        spec.Checkpoint.IntervalSeconds = checkpointsWithinEpochs ? 1e-9 : 0;
        var random = new Random(name.Length);
        var (lineage, resume, run) = (new Lineage(), (string?)null, whole);
        foreach (var world in new[] { 3, 8, 2 })
        {
            var last = whole.Result.Steps - 1;
            run = lineage.Train(spec, world, folder["data"], resume, failingRank: random.Next(world), failingStep: random.NextInt64(lineage.Step + 1, last));
            Assert.Contains(f => f is TrainingException { IsBystander: false }, run.Failures);
            resume = lineage.Checkpoint(run, folder, resume);
        }

        run = lineage.Train(spec, 6, folder["data"], resume).ShouldSucceed();
        Assert.AreEqual(Hash(whole), Hash(run));
        CollectionAssert.AreEqual(whole.Result.History.Select(e => e.TrainingLoss).ToArray(), run.Result.History.Select(e => e.TrainingLoss).ToArray());
        lineage.ShouldBePermutations(spec.Epochs, spec.Data.ValidationFraction > 0 ? 264 : 330, (whole.Result.Steps + spec.Epochs - 1) / spec.Epochs);
    }

    [TestMethod, TestCategory("Slow")]
    public void Train_RanksLostAtAnyMoment_GivesTheSameBitsAndEveryRowOnce()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 330);
        var spec = Spec(s_cases.Values.Last());
        var whole = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        // A checkpoint is always under way, and training does not wait for it: the loss comes anywhere in it.
        spec.Checkpoint.IntervalSeconds = 1e-9;
        var random = new Random(5);
        for (var trial = 0; trial < Trials; trial++)
        {
            var (lineage, resume, losses) = (new Lineage(), (string?)null, 0);
            while (true)
            {
                var world = random.Next(1, 7);
                var run = lineage.Train(spec, world, folder["data"], resume, random.Next(world), lineage.Step + random.Next(1, 40), waitForCheckpoints: false);
                if (run.Results[0] is not null)
                {
                    Assert.AreEqual(Hash(whole), Hash(run.ShouldSucceed()));
                    break;
                }

                Assert.Contains(f => f is TrainingException { IsBystander: false }, run.Failures);
                resume = lineage.Checkpoint(run, folder, resume);
                Assert.IsLessThan(1000, ++losses);
            }

            lineage.ShouldBePermutations(spec.Epochs, 264, 9);
        }
    }

    [TestMethod, DataRow(1, 5), DataRow(8, 3)]
    public void Resume_OnAnotherNumberOfRanks_GivesTheSameBits(int first, int second)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 200);
        var spec = Spec(s_cases.Values.Last());
        var whole = Cluster.Train(spec, first, folder["data"]).ShouldSucceed();
        File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints[1].Content);
        Assert.AreEqual(Hash(whole), Hash(Cluster.Train(spec, second, folder["data"], folder["checkpoint"]).ShouldSucceed()));
    }

    [TestMethod, DataRow(true), DataRow(false)]
    public void Train_BitExactOrNot_LearnsTheSameUpToRounding(bool large)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 330);
        // Large: several blocks of parameters, the last of one float.
        var spec = Spec(s => s.Module.Mlp.HiddenSizes[0] = large ? 341 : 16);
        var exact = Cluster.Train(spec, 3, folder["data"]).ShouldSucceed();
        spec.BitExact = null;
        var usual = Cluster.Train(spec, 3, folder["data"]).ShouldSucceed();
        for (var step = 0; step < usual.Losses.Length; step++)
            Assert.AreEqual(usual.Losses[step], exact.Losses[step], 1e-4 * Math.Abs(usual.Losses[step]));
    }

    private static JobSpec Spec(Action<JobSpec> change) => Cluster.Spec(s =>
    {
        s.BitExact = new BitExactSpec { MicroBatches = 8 };
        s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 };
        s.Epochs = 5;
        change(s);
    });

    private static string Hash(Run run) => Convert.ToHexStringLower(SHA256.HashData(run.Weights));
}
