using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Weights;

namespace Training.Tests.Loop;

[TestClass]
public sealed class TrainingLoopTests
{
    public TestContext TestContext { get; set; } = null!;

    [TestMethod, DataRow(1, 3, false), DataRow(3, 2, true), DataRow(2, 1, true)]
    public void Resume_OnAnotherNumberOfRanks_GoesOnTheSame(int first, int second, bool adam)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 300);
        var spec = Cluster.Spec(s =>
        {
            s.Epochs = 6;
            s.Module.Mlp.Dropout = 0.2;
            s.Module.Mlp.Normalization = LayerNormalization.Batch;
            s.Data.ValidationFraction = 0.2;
            s.GradientClipNorm = 1;
            s.Checkpoint = new CheckpointSpec { IntervalEpochs = 2 };
            s.Schedule = new ScheduleSpec { Kind = ScheduleKind.Cosine };
            if (adam)
                s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 }, LearningRate = 2e-3, WeightDecay = 0.01 };
        });
        var whole = Cluster.Train(spec, first, folder["data"]).ShouldSucceed();
        CollectionAssert.AreEqual(new[] { 2, 4 }, whole.Recorders[0].Checkpoints.Select(c => c.Epoch).ToArray());
        foreach (var (epoch, _, content) in whole.Recorders[0].Checkpoints)
        {
            File.WriteAllBytes(folder["checkpoint"], content);
            var rest = Cluster.Train(spec, second, folder["data"], folder["checkpoint"]).ShouldSucceed();
            var expected = whole.Recorders[0].Losses.Where(l => l.Step > epoch * 8).ToArray();
            Assert.HasCount(expected.Length, rest.Losses);
            for (var i = 0; i < expected.Length; i++)
            {
                Assert.AreEqual(expected[i].Step, rest.Recorders[0].Losses[i].Step);
                Assert.AreEqual(expected[i].Loss, rest.Losses[i], 1e-4 * Math.Abs(expected[i].Loss), $"step {expected[i].Step}");
            }

            Assert.AreEqual(whole.Result.BestEpoch, rest.Result.BestEpoch);
            Assert.HasCount(6, rest.Result.History);
            // Not the biases before batch norm: their gradient is rounding noise around 0, which Adam scales up, and the norm takes them out again.
            foreach (var (name, values) in whole.Tensors.Where(t => t.Key is "layers.2.bias" || t.Key.EndsWith("weight", StringComparison.Ordinal)))
            {
                for (var i = 0; i < values.Length; i++)
                    Assert.AreEqual(values[i], rest.Tensors[name][i], 1e-3f, name);
            }
        }
    }

    [TestMethod]
    public void Resume_FromAnotherJobsCheckpoint_IsRefused()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 64);
        var spec = Cluster.Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 });
        File.WriteAllBytes(folder["checkpoint"], Cluster.Train(spec, 1, folder["data"]).ShouldSucceed().Recorders[0].Checkpoints[0].Content);
        spec.Module.Mlp.HiddenSizes[0] = 17;
        var run = Cluster.Train(spec, 2, folder["data"], folder["checkpoint"]);
        var failures = run.Failures.Cast<TrainingException>().ToArray();
        Assert.Contains(f => f.Failure.Kind == FailureKind.CheckpointDamaged && f.Message.Contains("layers.0.weight", StringComparison.Ordinal), failures);
    }

    [TestMethod, DataRow(1), DataRow(2), DataRow(3), DataRow(8)]
    public void Train_LossBecomesNaN_NamesStepRankAndRate(int world)
    {
        using var folder = new TempFolder();
        // One row that no float can hold the loss of.
        Datasets.Write(folder["data"], 2, 96, i => i == 40 ? [3e38f, 3e38f] : [i % 2, 1], i => i % 2);
        var spec = Cluster.Spec(s =>
        {
            (s.Module.Mlp.InputSize, s.Module.Mlp.OutputSize) = (2, 2);
            s.Optimizer.LearningRate = 0.25;
        });
        var run = Cluster.Train(spec, world, folder["data"]);
        var failures = run.Failures.Select(f => (TrainingException)f!).ToArray();
        Assert.HasCount(1, failures.Where(f => !f.IsBystander).ToArray());
        for (var rank = 0; rank < world; rank++)
        {
            Assert.AreEqual(FailureKind.Training, failures[rank].Failure.Kind);
            Assert.IsGreaterThan(0, failures[rank].Failure.Step);
            Assert.AreEqual(failures[rank].Failure.Rank != rank, failures[rank].IsBystander);
            StringAssert.Contains(failures[rank].Message, $"at step {failures[rank].Failure.Step} of 9 (epoch 1) on rank {failures[rank].Failure.Rank} with learning rate 0.25");
        }

        Assert.HasCount((int)failures[0].Failure.Step - 1, run.Losses, "The losses up to there were not told.");
    }

    [TestMethod]
    public void Train_LossNoLongerImproves_StopsAndKeepsTheBest()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 120);
        Datasets.WriteClouds(folder["validation"], 60, seed: 99);
        var spec = Cluster.Spec(s =>
        {
            s.Epochs = 200;
            s.Module.Mlp.HiddenSizes.Clear();
            s.Module.Mlp.HiddenSizes.Add([64, 64]);
            s.Optimizer.LearningRate = 0.2;
            s.EarlyStopping = new EarlyStoppingSpec { PatienceEpochs = 3, MinImprovement = 1e-3 };
            s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 };
        });
        var run = Cluster.Train(spec, 2, folder["data"], validationPath: folder["validation"]).ShouldSucceed();
        var history = run.Result.History;
        Assert.IsTrue(run.Result.Epochs is > 3 and < 200, $"{run.Result.Epochs} epochs");
        Assert.AreEqual(history.Min(e => e.ValidationLoss), run.Result.ValidationLoss);
        Assert.AreEqual(history.First(e => e.ValidationLoss == run.Result.ValidationLoss).Epoch, run.Result.BestEpoch);
        Assert.IsLessThan(run.Result.Epochs - 1, run.Result.BestEpoch);

        // The weights are those of the best epoch: a run that ends there has the same.
        var shorter = spec.Clone();
        shorter.Epochs = run.Result.BestEpoch + 1;
        CollectionAssert.AreEqual(Cluster.Train(shorter, 2, folder["data"], validationPath: folder["validation"]).ShouldSucceed().Weights, run.Weights);

        // So has one that goes on from a checkpoint after that epoch, which has other weights itself.
        var later = run.Recorders[0].Checkpoints[^1];
        Assert.IsGreaterThan(run.Result.BestEpoch + 1, later.Epoch);
        File.WriteAllBytes(folder["checkpoint"], later.Content);
        CollectionAssert.AreEqual(run.Weights, Cluster.Train(spec, 2, folder["data"], folder["checkpoint"], validationPath: folder["validation"]).ShouldSucceed().Weights);
    }

    [TestMethod]
    public void Train_RowsOfWeightZero_AreAsIfNotThere()
    {
        using var folder = new TempFolder();
        float[] Features(int i) => [MathF.Sin(i), MathF.Cos(3 * i)];
        var spec = Cluster.Spec(s =>
        {
            s.Task = MlTask.Regression;
            (s.Module.Mlp.InputSize, s.Module.Mlp.OutputSize) = (2, 1);
            s.GlobalBatchSize = 200;
            s.Epochs = 20;
        });
        Datasets.Write(folder["some"], 2, 80, Features, i => Features(i)[0]);
        Datasets.Write(folder["weighted"], 2, 160, i => Features(i % 80), i => i < 80 ? Features(i)[0] : 1000, i => i < 80 ? 2 : 0);
        var some = Cluster.Train(spec, 2, folder["some"]).ShouldSucceed();
        var weighted = Cluster.Train(spec, 3, folder["weighted"]).ShouldSucceed();
        for (var i = 0; i < some.Losses.Length; i++)
            Assert.AreEqual(some.Losses[i], weighted.Losses[i], 1e-4 * Math.Abs(some.Losses[i]));
    }

    [TestMethod, DataRow(0.0), DataRow(1e-3)]
    public void Train_WithClipping_StepsAreNoLongerThanTheNorm(double clip)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 32);
        var spec = Cluster.Spec(s =>
        {
            s.Epochs = 1;
            s.Optimizer = new OptimizerSpec { Sgd = new SgdSpec(), LearningRate = 1 };
            s.GradientClipNorm = clip;
        });
        var still = spec.Clone();
        still.Optimizer.LearningRate = 1e-30;
        var before = Cluster.Train(still, 1, folder["data"]).ShouldSucceed().AllWeights();
        var after = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed().AllWeights();
        var length = Math.Sqrt(before.Zip(after).Sum(p => Math.Pow(p.First - p.Second, 2)));
        if (clip > 0)
            Assert.AreEqual(clip, length, 0.01 * clip);
        else
            Assert.IsGreaterThan(0.01, length);
    }

    [TestMethod]
    public void Train_Binary_LearnsToTellApart()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 2, 200, i => [MathF.Sin(i), MathF.Cos(i)], i => MathF.Sin(i) > 0 ? 1 : 0);
        var spec = Cluster.Spec(s =>
        {
            s.Task = MlTask.Binary;
            (s.Module.Mlp.InputSize, s.Module.Mlp.OutputSize) = (2, 1);
            s.Epochs = 30;
        });
        var run = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        Assert.IsLessThan(0.15, run.Result.TrainingLoss);
    }

    [TestMethod, DataRow(1), DataRow(3)]
    public void Train_Stopped_ThrowsOperationCanceledOnAllRanks(int world)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 500);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.CancellationToken);
        var spec = Cluster.Spec(s => s.Epochs = 1_000_000);
        var run = Cluster.Train(spec, world, folder["data"], stop: stop.Token, onStarted: (rank, recorder) =>
        {
            if (rank == 0)
                recorder.OnEpoch = _ => stop.Cancel();
        });
        foreach (var failure in run.Failures)
            Assert.IsInstanceOfType<OperationCanceledException>(failure);
    }

    [TestMethod]
    public void Train_RankThatNeverComes_TheOthersAreBystanders()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100);
        var run = Cluster.Train(Cluster.Spec(), 3, folder["data"], missingRank: 2);
        foreach (var failure in run.Failures[..2].Cast<TrainingException>())
        {
            Assert.IsTrue(failure.IsBystander);
            Assert.AreEqual(FailureKind.Crashed, failure.Failure.Kind);
        }
    }

    [TestMethod]
    public void Train_ReporterThrows_TheRankFailsAndTheOthersAreBystanders()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100);
        var run = Cluster.Train(Cluster.Spec(), 2, folder["data"], onStarted: (rank, _) =>
        {
            if (rank == 1)
                throw new InvalidOperationException("last words");
        });
        var failed = (TrainingException)run.Failures[1]!;
        Assert.IsFalse(failed.IsBystander);
        StringAssert.Contains(failed.Message, "last words");
        Assert.IsTrue(((TrainingException)run.Failures[0]!).IsBystander);
    }

    [TestMethod]
    public void Train_DataOfAnotherWidth_IsInvalid()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 4, 10, i => [i, i, i, i], _ => 0);
        var failure = (TrainingException)Cluster.Train(Cluster.Spec(), 1, folder["data"]).Failures[0]!;
        Assert.AreEqual(FailureKind.Invalid, failure.Failure.Kind);
        StringAssert.Contains(failure.Message, "has 4 features a row, expected 5");
    }

    [TestMethod]
    public void Train_LabelThatIsNoClass_IsInvalidAndNamesTheRow()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 10, _ => new float[5], i => i == 7 ? 3 : 1);
        var failure = (TrainingException)Cluster.Train(Cluster.Spec(), 1, folder["data"]).Failures[0]!;
        Assert.AreEqual(FailureKind.Invalid, failure.Failure.Kind);
        StringAssert.Contains(failure.Message, "Label of row 7 is 3, expected a class from 0 to 2");
    }

    [TestMethod]
    public void Train_OnCuda_GivesTheSameLosses()
    {
        if (!TorchSharp.torch.cuda.is_available())
            Assert.Inconclusive("No CUDA device that libtorch can use is here (the default build carries the CPU libtorch).");
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 300);
        var onCpu = Cluster.Train(Cluster.Spec(), 1, folder["data"]).ShouldSucceed();
        var onGpu = Cluster.Train(Cluster.Spec(), 1, folder["data"], device: DeviceKind.Cuda).ShouldSucceed();
        for (var i = 0; i < onCpu.Losses.Length; i++)
            Assert.AreEqual(onCpu.Losses[i], onGpu.Losses[i], 1e-3 * Math.Abs(onCpu.Losses[i]));
    }

    [TestMethod]
    public void Train_OnADeviceThatIsNotThere_SaysSo()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 30);
        if (TorchSharp.torch.cuda.is_available())
            Assert.Inconclusive("A CUDA device is here.");
        var failure = (TrainingException)Cluster.Train(Cluster.Spec(), 1, folder["data"], device: DeviceKind.Cuda).Failures[0]!;
        Assert.AreEqual(FailureKind.Invalid, failure.Failure.Kind);
        StringAssert.Contains(failure.Message, "Device \"cuda:0\" is not there");
    }

    [TestMethod]
    public void Finish_Weights_AreTheParametersByName()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100);
        var run = Cluster.Train(Cluster.Spec(s => s.Module.Mlp.Normalization = LayerNormalization.Batch), 2, folder["data"]).ShouldSucceed();
        File.WriteAllBytes(folder["weights"], run.Weights);
        using var reader = new SafetensorsReader(folder["weights"]);
        CollectionAssert.AreEquivalent(run.Tensors.Keys.ToArray(), reader.Names.ToArray());
        CollectionAssert.Contains(run.Tensors.Keys.ToArray(), "norms.1.running_var");
        CollectionAssert.AreEqual(new long[] { 12, 16 }, reader.Shape("layers.1.weight"));
        CollectionAssert.AreEqual(run.Tensors["layers.1.weight"], reader.Read("layers.1.weight"));
        Assert.HasCount(2, run.Results[0]!.Files);
        Assert.IsEmpty(run.Results[1]!.Files);
        Assert.IsNull(run.Results[1]!.Result);
    }

    [TestMethod, DataRow(1, false), DataRow(2, false), DataRow(2, true)]
    public void Train_WeightsOfAnyUnit_AreTheSameModel(int world, bool exact)
    {
        using var folder = new TempFolder();
        // A unit that is a denormal number, or whose sums overflow, and a class weight that makes a product of either.
        (float Unit, float ClassWeight)[] cases = [(1, 1), (Single(-149), 1), (Single(-140), 1), (Single(-80), Single(-80)), (Single(120), Single(60))];
        var losses = cases.Select(c =>
        {
            Datasets.WriteClouds(folder["data"], 120, i => (1 + i % 4) * c.Unit);
            return Cluster.Train(Cluster.Spec(s =>
            {
                s.ClassWeights.Add([c.ClassWeight, 2 * c.ClassWeight, 4 * c.ClassWeight]);
                s.Data.WeightScale = 1 / ((double)c.Unit * c.ClassWeight);
                s.Data.ValidationFraction = 0.2;
                s.BitExact = exact ? new BitExactSpec { MicroBatches = 8 } : null;
            }), world, folder["data"]).ShouldSucceed();
        }).ToArray();

        foreach (var run in losses)
        {
            CollectionAssert.AreEqual(losses[0].Losses, run.Losses);
            Assert.IsGreaterThan(0.1, run.Losses[0]);
            CollectionAssert.AreEqual(losses[0].Result.History.Select(e => e.ValidationLoss).ToArray(), run.Result.History.Select(e => e.ValidationLoss).ToArray());
        }

        static float Single(int exponent) => (float)Math.ScaleB(1, exponent);
    }

    [TestMethod, DataRow(1), DataRow(3)]
    public void Train_RowsThatWeighNothing_FailsWithASentence(int world)
    {
        using var folder = new TempFolder();
        // Without a scale, the ranks take denormal weights for 0.
        Datasets.WriteClouds(folder["tiny"], 64, _ => 1e-40f);
        Datasets.WriteClouds(folder["data"], 64, _ => 1);
        Check(Cluster.Train(Cluster.Spec(), world, folder["tiny"]), "All 32 rows of step 1 weigh 0");
        Check(Cluster.Train(Cluster.Spec(), world, folder["data"], validationPath: folder["tiny"]), "All 64 validation rows weigh 0");

        static void Check(Run run, string message)
        {
            var failures = run.Failures.Cast<TrainingException>().ToArray();
            var first = failures.Single(f => !f.IsBystander);
            Assert.AreEqual(FailureKind.Invalid, first.Failure.Kind);
            StringAssert.StartsWith(first.Message, message);
        }
    }
}
