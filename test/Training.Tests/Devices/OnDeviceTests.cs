using System.Collections.Concurrent;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Commits;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Native.Cuda;
using Training.Tests.Loop;

namespace Training.Tests.Devices;

/// <summary>Everything of a rank on its device, with libtorch's CPU as the device and a stand-in of CUDA's runtime.</summary>
[TestClass]
public sealed class OnDeviceTests
{
    private const int Rows = 200;

    private static readonly Dictionary<string, Action<JobSpec>> s_cases = new()
    {
        ["SGD"] = s => s.Optimizer = new OptimizerSpec { Sgd = new SgdSpec(), LearningRate = 0.05 },
        ["momentum, decay, averaged, validated"] = s => (s.Optimizer.AveragingDecay, s.Data.ValidationFraction) = (0.9, 0.2),
        ["Nesterov, decay, clipped, micro-batches"] = s => (s.Optimizer.Sgd.Nesterov, s.GradientClipNorm, s.MaxMicroBatchSize) = (true, 0.3, 7),
        ["AdamW, decay, clipped, averaged, class weights, smoothing, dropout"] = s =>
        {
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-6 }, LearningRate = 3e-3, WeightDecay = 0.1, AveragingDecay = 0.8 };
            (s.GradientClipNorm, s.LabelSmoothing, s.Module.Mlp.Dropout) = (0.5, 0.1, 0.2);
            s.ClassWeights.Add([1f, 2f, 0.5f]);
            s.Schedule = new ScheduleSpec { Kind = ScheduleKind.Cosine, WarmupFraction = 0.1 };
        },
        ["Adam, decay"] = s => s.Optimizer = new OptimizerSpec { Adam = new AdamSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-6 }, LearningRate = 3e-3, WeightDecay = 0.01 },
        // Not with Adam: it makes steps of the rounding errors that are the gradients of biases before a batch norm.
        ["momentum, batch norm, validated"] = s => (s.Module.Mlp.Normalization, s.Data.ValidationFraction) = (LayerNormalization.Batch, 0.2),
        ["binary, micro-batches, validated"] = s =>
        {
            (s.Task, s.Module.Mlp.OutputSize, s.MaxMicroBatchSize, s.Data.ValidationFraction) = (MlTask.Binary, 1, 10, 0.2);
            s.ClassWeights.Add([1f, 3f]);
        },
        ["regression, layer norm, Huber, large layers"] = s =>
        {
            (s.Task, s.Module.Mlp.OutputSize, s.Module.Mlp.Normalization) = (MlTask.Regression, 1, LayerNormalization.Layer);
            (s.Loss, s.Optimizer.LearningRate) = (new LossSpec { Huber = new HuberLossSpec { Delta = 1 } }, 0.01);
            s.Module.Mlp.HiddenSizes.Clear();
            s.Module.Mlp.HiddenSizes.Add([512, 512]);
        },
    };

    public static IEnumerable<object[]> Cases => from name in s_cases.Keys from prefetch in new[] { false, true } select new object[] { name, prefetch };

    [TestMethod, DynamicData(nameof(Cases))]
    public void Train_OnDevice_IsAsInSharedMemory(string name, bool prefetch)
    {
        using var folder = new TempFolder();
        var spec = Cluster.Spec(s_cases[name]);
        WriteData(folder["data"], spec, isWeighted: prefetch);
        var shared = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var cuda = new LazyCuda();
        var onDevice = Train(spec, folder["data"], cuda, prefetch: prefetch).ShouldSucceed();

        ShouldBeTheSame(shared, onDevice);
        Assert.IsGreaterThanOrEqualTo((int)shared.Result.Steps * 2, cuda.Copies, "Batches went another way.");
        Assert.AreEqual(0, cuda.Alive);
        Assert.IsEmpty(onDevice.Recorders[0].Logs);
    }

    [TestMethod]
    [DataRow("", DisplayName = "CUDA's runtime is missing")]
    [DataRow("CreateStream", DisplayName = "no stream")]
    [DataRow("CreateEvent", DisplayName = "no event")]
    [DataRow("HostRegister", DisplayName = "nothing is page-locked")]
    public void Train_WithoutSomeOfCuda_IsTheSame(string refused)
    {
        using var folder = new TempFolder();
        var spec = Cluster.Spec();
        WriteData(folder["data"], spec, isWeighted: true);
        var cuda = new LazyCuda { Refuses = call => call == refused };
        var run = Train(spec, folder["data"], refused.Length == 0 ? null : cuda).ShouldSucceed();
        ShouldBeTheSame(Cluster.Train(spec, 1, folder["data"]).ShouldSucceed(), run);
        Assert.AreEqual(0, cuda.Alive);
    }

    // Optimizer state, average and best weights too, in the middle of an epoch and at the end of one.
    [TestMethod, DataRow(true), DataRow(false)]
    public void Resume_FromTheOtherStrategysCheckpoint_GoesOn(bool beginsOnDevice)
    {
        using var folder = new TempFolder();
        var spec = Cluster.Spec(s =>
        {
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-6 }, LearningRate = 3e-3, WeightDecay = 0.1, AveragingDecay = 0.8 };
            s.Data.ValidationFraction = 0.2;
            s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 1e-9 };
        });
        WriteData(folder["data"], spec);
        var whole = Run(beginsOnDevice, null).ShouldSucceed();
        foreach (var step in (long[])[3, 10])
        {
            File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints.First(c => c.Step == step).Content);
            var rest = Run(!beginsOnDevice, folder["checkpoint"]).ShouldSucceed();
            Assert.AreEqual(step + 1, rest.Recorders[0].Losses[0].Step);
            Near(whole.Losses[^rest.Losses.Length..], rest.Losses, "losses");
            Near(whole.AllWeights(), rest.AllWeights(), "weights");
            Assert.AreEqual(whole.Result.History[0].TrainingLoss, rest.Result.History[0].TrainingLoss, 1e-5);
        }

        Run Run(bool onDevice, string? from) => onDevice ? Train(spec, folder["data"], new LazyCuda(), from) : Cluster.Train(spec, 1, folder["data"], from);
    }

    [TestMethod, DataRow(true), DataRow(false)]
    public void Resume_FromTheOtherStrategysCommit_GoesOn(bool beginsOnDevice)
    {
        using var folder = new TempFolder();
        using var file = CommitFile.Create(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath());
        if (file is null)
            Assert.Inconclusive("Only Linux has files without names that other processes can open.");
        var spec = Cluster.Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, MinIntervalSeconds = 1e9 });
        WriteData(folder["data"], spec);
        var whole = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var clock = new HandClock();
        var first = Run(beginsOnDevice, failingStep: 10);
        Assert.IsNotNull(first.Failures[0]);
        Assert.IsInRange(8L, 9L, file.NewestStep());
        var rest = Run(!beginsOnDevice, failingStep: 0).ShouldSucceed();
        Near(whole.Losses[^rest.Losses.Length..], rest.Losses, "losses");
        Near(whole.AllWeights(), rest.AllWeights(), "weights");
        // The losses that were told are of all steps up to the commit, each once.
        CollectionAssert.AreEqual(Enumerable.Range(1, whole.Losses.Length).Select(i => (long)i).ToArray(),
            first.Recorders[0].Losses.Where(l => l.Step < rest.Recorders[0].Losses[0].Step).Concat(rest.Recorders[0].Losses).Select(l => l.Step).ToArray());

        Run Run(bool onDevice, long failingStep) => Cluster.Train(spec, 1, folder["data"], commits: file, configure: e => e.Value with
        {
            OnDevice = onDevice,
            Cuda = () => new LazyCuda(),
            Time = clock,
            RowTaken = (step, _) =>
            {
                clock.Advance(TimeSpan.FromSeconds(1));
                if (step == failingStep)
                    throw new InvalidOperationException("This rank is lost.");
            },
        });
    }

    [TestMethod, DataRow(0.0), DataRow(0.5, DisplayName = "clipped")]
    public void Train_LossBecomesNaN_NamesTheStepThoughItIsSeenLater(double clip)
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 2, 96, i => i == 40 ? [3e38f, 3e38f] : [i % 2, 1], i => i % 2);
        var spec = Cluster.Spec(s =>
        {
            (s.Module.Mlp.InputSize, s.Module.Mlp.OutputSize, s.GlobalBatchSize, s.GradientClipNorm) = (2, 2, 4, clip);
            s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 };
        });
        var shared = Cluster.Train(spec, 1, folder["data"]);
        var run = Train(spec, folder["data"], new LazyCuda());
        var (expected, failure) = ((TrainingException)shared.Failures[0]!, (TrainingException)run.Failures[0]!);
        Assert.IsGreaterThan(1, expected.Failure.Step);
        Assert.AreEqual(expected.Failure, failure.Failure);
        Near(shared.Losses, run.Losses, "losses before it");
        Assert.IsEmpty(run.Recorders[0].Checkpoints);
    }

    // Its norm is infinite where the loss is not.
    [TestMethod]
    public void Train_GradientThatIsNotFinite_NamesItsStep()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 1, 32, i => [i == 20 ? 1e21f : 0], _ => 0);
        var spec = Cluster.Spec(s =>
        {
            (s.Task, s.Module.Mlp.InputSize, s.Module.Mlp.OutputSize, s.GlobalBatchSize, s.GradientClipNorm) = (MlTask.Regression, 1, 1, 4, 1);
            s.Module.Mlp.HiddenSizes.Clear();
            s.Loss = new LossSpec { Huber = new HuberLossSpec { Delta = 1 } };
        });
        var expected = (TrainingException)Cluster.Train(spec, 1, folder["data"]).Failures[0]!;
        var failure = (TrainingException)Train(spec, folder["data"], new LazyCuda()).Failures[0]!;
        Assert.AreEqual(FailureKind.Training, expected.Failure.Kind);
        Assert.AreEqual(expected.Failure, failure.Failure);
    }

    [TestMethod]
    public void Train_RowsThatWeighNothing_FailsWithASentence()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 64, i => i < 32 ? 1 : 1e-40f);
        var failure = (TrainingException)Train(Cluster.Spec(s => s.GlobalBatchSize = 1), folder["data"], new LazyCuda()).Failures[0]!;
        StringAssert.Contains(failure.Message, "weigh 0");
    }

    [TestMethod]
    public void Train_ModuleThatTheDeviceCannotHold_IsRefusedWithTheSizes()
    {
        using var folder = new TempFolder();
        var spec = Cluster.Spec(s => s.Optimizer = new OptimizerSpec { Adam = new AdamSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-6 }, LearningRate = 1e-3 });
        WriteData(folder["data"], spec);
        // 339 parameters, their gradients and two moments.
        ShouldFit(339 * 4 * 4);
        var failure = (TrainingException)Train(spec, folder["data"], new LazyCuda { TotalBytes = 339 * 4 * 4 - 1 }).Failures[0]!;
        Assert.AreEqual(FailureKind.Invalid, failure.Failure.Kind);
        StringAssert.StartsWith(failure.Message, "Module with 339 parameters takes 0.0 GiB of cuda:0 for them, their gradients and 2 states of the optimizer, expected at most the 0.0 GiB that it has.");

        void ShouldFit(nuint bytes) => Train(spec, folder["data"], new LazyCuda { TotalBytes = bytes }).ShouldSucceed();
    }

    [TestMethod]
    public void Train_OnDevice_HostHoldsNoGradients()
    {
        var spec = Cluster.Spec();
        var layout = new MLDistributed.Training.Models.MlpSource(spec.Module.Mlp, 1).Layout;
        Assert.AreEqual(layout.ParameterLength * 4, MemoryNeeds.Of(spec, layout, 1, isOnDevice: true).SharedBytes);
        using var folder = new TempFolder();
        WriteData(folder["data"], spec);
        var needs = MemoryNeeds.Of(spec, layout, 1, isOnDevice: true).TotalBytes + (long)BatchMemory.LeastBytes(spec, Rows, 1, isOnGpu: false);
        Train(spec, folder["data"], new LazyCuda(), memoryBytes: needs).ShouldSucceed();
        StringAssert.Contains(Train(spec, folder["data"], new LazyCuda(), memoryBytes: needs - 1).Failures[0]!.Message, "GiB of the machine");
    }

    private static Run Train(JobSpec spec, string data, ICudaRuntime? cuda, string? resumePath = null, bool prefetch = false, long? memoryBytes = null) => Cluster.Train(spec, 1, data, resumePath, configure: e => e.Value with
    {
        OnDevice = true,
        Prefetch = prefetch,
        Cuda = () => cuda ?? throw new DllNotFoundException("there is none"),
        MemoryBytes = memoryBytes ?? e.Value.MemoryBytes,
    });

    private static void WriteData(string path, JobSpec spec, bool isWeighted = false)
    {
        Func<int, float>? weight = isWeighted ? i => 0.5f + i % 4 : null;
        if (spec.Task == MlTask.Multiclass)
            Datasets.WriteClouds(path, Rows, weight);
        else
            Datasets.Write(path, 5, Rows, i => [MathF.Sin(i), MathF.Cos(3 * i), i % 7 / 7f, i % 5 / 5f, 1], i => spec.Task == MlTask.Binary ? i % 7 > 2 ? 1 : 0 : MathF.Sin(i) + i % 7 / 7f, weight);
    }

    private static void ShouldBeTheSame(Run expected, Run actual)
    {
        Near(expected.Losses, actual.Losses, "losses");
        Near(expected.AllWeights(), actual.AllWeights(), "weights");
        Assert.AreEqual(expected.Result.BestEpoch, actual.Result.BestEpoch);
        foreach (var (e, a) in expected.Result.History.Zip(actual.Result.History))
        {
            Near([e.TrainingLoss, e.ValidationLoss, .. e.TrainingMetrics, .. e.ValidationMetrics], [a.TrainingLoss, a.ValidationLoss, .. a.TrainingMetrics, .. a.ValidationMetrics], $"epoch {e.Epoch}");
            Assert.IsNotEmpty(a.TrainingMetrics);
        }
    }

    private static void Near<T>(IReadOnlyList<T> expected, IReadOnlyList<T> actual, string what)
        where T : struct, IConvertible
    {
        Assert.HasCount(expected.Count, actual);
        for (var i = 0; i < expected.Count; i++)
        {
            var (e, a) = (expected[i].ToDouble(null), actual[i].ToDouble(null));
            Assert.AreEqual(e, a, 1e-5 * Math.Max(1, Math.Abs(e)), $"{what}, {i}");
        }
    }
}
