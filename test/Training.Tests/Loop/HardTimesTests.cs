using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Training;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Models;

namespace Training.Tests.Loop;

/// <summary>Full disks, slow disks, small data, numbers out of range.</summary>
[TestClass]
public sealed class HardTimesTests
{
    [TestMethod, DataRow(1, false), DataRow(3, true)]
    public void Checkpoint_CannotBeWritten_IsAWarningAndTrainingGoesOn(int world, bool diskFull)
    {
        if (diskFull && !File.Exists("/dev/full"))
            Assert.Inconclusive("This system has no /dev/full, the disk that is always full.");
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100);
        var spec = Cluster.Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 });
        var whole = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
        var part = "";
        var leftBehind = false;
        var run = Cluster.Train(spec, world, folder["data"], onStarted: (_, recorder) => recorder.OnEpoch = r => leftBehind |= r.Epochs.Count == 2 && new FileInfo(part).LinkTarget is not null, prepareOutput: output =>
        {
            part = Path.Combine(output, "checkpoint-00000004.safetensors.part");
            if (diskFull)
                File.CreateSymbolicLink(part, "/dev/full");
            else
                Directory.CreateDirectory(part);
        }).ShouldSucceed();
        var warning = run.Recorders[0].Logs.Single();
        Assert.AreEqual(LogLevel.Warning, warning.Level);
        Assert.IsFalse(leftBehind, "What there is of it keeps the disk full.");
        StringAssert.Contains(warning.Message, "Checkpoint of step 4 (epoch 1) could not be written (");
        CollectionAssert.AreEqual(new[] { 2 }, run.Recorders[0].Checkpoints.Select(c => c.Epoch).ToArray());
        CollectionAssert.AreEqual(whole.Weights, run.Weights);
    }

    [TestMethod]
    public void Finish_WeightsCannotBeWritten_NamesFileAndRemedy()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100);

        var run = Cluster.Train(Cluster.Spec(), 1, folder["data"], prepareOutput: output => Directory.CreateDirectory(Path.Combine(output, ArtifactName.Weights + ".part")));

        var failure = ((TrainingException)run.Failures[0]!).Failure;
        Assert.AreEqual(FailureKind.Invalid, failure.Kind);
        StringAssert.StartsWith(failure.Message, "Rank 0 cannot read or write its files (");
        StringAssert.Contains(failure.Message, ArtifactName.Weights);
        StringAssert.Contains(failure.Message, "Free space there");
    }

    [TestMethod]
    public void Start_RankThatIsLongerThanAStepMayBe_IsWaitedFor()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 60);
        using var late = new ManualResetEventSlim();
        var limit = TimeSpan.FromSeconds(2);
        var run = Cluster.Train(Cluster.Spec(), 2, folder["data"], configure: e =>
        {
            // A data set on a slow disk: the other rank waits longer than it would in a step.
            if (e.Rank == 1)
                late.Wait(1.5 * limit);
            return e.Value with { PeerTimeout = limit };
        });
        run.ShouldSucceed();
    }

    [TestMethod, DataRow(1), DataRow(2), DataRow(3)]
    public void Train_BatchOfFewerRowsThanRanks_IsTheSame(int batchSize)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 25, i => 1 + i % 2);
        var spec = Cluster.Spec(s =>
        {
            s.GlobalBatchSize = batchSize;
            s.Module.Mlp.Dropout = 0.2;
            s.Module.Mlp.Normalization = batchSize == 1 ? LayerNormalization.Layer : LayerNormalization.Batch;
            s.Optimizer.LearningRate = 0.003;
        });
        var one = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var five = Cluster.Train(spec, 5, folder["data"]).ShouldSucceed();
        Assert.HasCount(one.Losses.Length, five.Losses);
        for (var step = 0; step < one.Losses.Length; step++)
            Assert.AreEqual(one.Losses[step], five.Losses[step], 1e-3 * Math.Abs(one.Losses[step]) + 1e-5);
    }

    [TestMethod]
    public void Validate_FewerRowsThanRanks_IsTheSame()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100);
        Datasets.WriteClouds(folder["validation"], 2, seed: 9);
        var one = Cluster.Train(Cluster.Spec(), 1, folder["data"], validationPath: folder["validation"]).ShouldSucceed();
        var five = Cluster.Train(Cluster.Spec(), 5, folder["data"], validationPath: folder["validation"]).ShouldSucceed();
        for (var epoch = 0; epoch < 3; epoch++)
            Assert.AreEqual(one.Result.History[epoch].ValidationLoss, five.Result.History[epoch].ValidationLoss, 1e-4);
    }

    [TestMethod, DataRow(1), DataRow(2)]
    public void Finish_WeightsThatAreNotFinite_AreRefused(int world)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 32);
        // One step: its loss is finite, its update is not.
        var spec = Cluster.Spec(s =>
        {
            s.Epochs = 1;
            s.Optimizer = new OptimizerSpec { Sgd = new SgdSpec(), LearningRate = 1e300 };
        });
        var failure = ((TrainingException)Cluster.Train(spec, world, folder["data"]).Failures[0]!).Failure;
        Assert.AreEqual(FailureKind.Training, failure.Kind);
        Assert.AreEqual(1, failure.Step);
        StringAssert.Contains(failure.Message, "after the last step, 1, with learning rate 1E+300, expected finite numbers");
    }

    [TestMethod]
    public void Start_ModuleLargerThanTheMemory_IsRefusedWithItsSizes()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 32);
        var spec = Cluster.Spec(s =>
        {
            s.Module.Mlp.HiddenSizes.Clear();
            s.Module.Mlp.HiddenSizes.Add([10_000, 30_000]);
        });
        var run = Cluster.Train(spec, 2, folder["data"], configure: e => e.Value with { MemoryBytes = 6L << 30 });
        foreach (var failure in run.Failures.Cast<TrainingException>())
        {
            Assert.AreEqual(FailureKind.Invalid, failure.Failure.Kind);
            Assert.AreEqual("Module with 300,180,003 parameters takes 6.7 GiB on 2 ranks (3.4 shared, 1.1 optimizer state, 2.2 copies), " +
                "expected at most the 6.0 GiB of this machine. Make HiddenLayers smaller, or use fewer ranks (MaxRanks).", failure.Message);
        }
    }

    [TestMethod]
    public void Start_BatchLargerThanTheMemory_IsRefusedWithItsSizes()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 3200);
        var spec = Cluster.Spec(s => s.GlobalBatchSize = int.MaxValue);
        var failure = ((TrainingException)Cluster.Train(spec, 1, folder["data"], configure: e => e.Value with { MemoryBytes = 500_000 }).Failures[0]!).Failure;
        Assert.AreEqual(FailureKind.Invalid, failure.Kind);
        StringAssert.StartsWith(failure.Message, "BatchSize is 2,147,483,647: a step's 3,200 rows take at least");
        spec.MaxMicroBatchSize = 64;
        Cluster.Train(spec, 1, folder["data"], configure: e => e.Value with { MemoryBytes = 500_000 }).ShouldSucceed();
    }

    [TestMethod, DataRow(1), DataRow(3)]
    public void Train_LargestBatchAndMicroBatch_AreThoseOfAllRows(int world)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100);
        Datasets.WriteClouds(folder["validation"], 150, seed: 9);
        var largest = Cluster.Train(Cluster.Spec(s => (s.GlobalBatchSize, s.MaxMicroBatchSize) = (int.MaxValue, int.MaxValue)), world, folder["data"], validationPath: folder["validation"]).ShouldSucceed();
        var all = Cluster.Train(Cluster.Spec(s => s.GlobalBatchSize = 100), world, folder["data"], validationPath: folder["validation"]).ShouldSucceed();
        Assert.AreEqual(3, largest.Result.Steps);
        for (var step = 0; step < 3; step++)
            Assert.AreEqual(all.Losses[step], largest.Losses[step], 1e-5);
        Assert.AreEqual(all.Result.ValidationLoss, largest.Result.ValidationLoss, 1e-5);
    }

    [TestMethod]
    public void Step_NativeMemoryRunsOut_IsOneSentenceAndTheStackIsLogged()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 32);
        var run = Cluster.Train(Cluster.Spec(), 1, folder["data"], configure: e => e.Value with { Module = s => new SourceAround(new MlpSource(s.Module.Mlp, s.Seed), m => new GreedyModule(m)) });
        var failure = ((TrainingException)run.Failures[0]!).Failure;
        Assert.AreEqual(FailureKind.Invalid, failure.Kind);
        Assert.AreEqual("Rank 0 ran out of memory (libtorch could not allocate 4,194,304.0 GiB at once), expected room for a step. Make BatchSize or HiddenLayers smaller, set MaxMicroBatchSize, or use fewer ranks (MaxRanks).", failure.Message);
        var log = run.Recorders[0].Logs.Single();
        Assert.AreEqual(LogLevel.Trace, log.Level);
        StringAssert.Contains(log.Message, "frame #0");
    }

    private sealed class GreedyModule(ITrainedModule module) : ModuleAround(module)
    {
        public override TorchSharp.torch.Tensor Forward(MLDistributed.Training.Data.Batch batch, long step) => TorchSharp.torch.empty(1L << 50);
    }

    [TestMethod]
    public void MemoryNeeds_OfAdamW_CountTwoMomentsOnceAHost()
    {
        var spec = Cluster.Spec(s => s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec() });
        var layout = MlpSource.LayoutOf(spec.Module.Mlp);
        var needs = MemoryNeeds.Of(spec, layout, 4);
        var bytes = layout.ParameterLength * 4;
        Assert.AreEqual((5 * bytes, 2 * bytes, 2 * bytes), (needs.SharedBytes, needs.StateBytes, needs.CopyBytes));
    }
}
