using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Models;
using TorchModules;
using TorchSharp;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Models;

/// <summary>Losses, steps and metrics of a module's own, on ranks that are threads.</summary>
[TestClass]
public sealed class ModuleContractTests
{
    private const int RowCount = 100;
    private static readonly NetOptions s_classes = new(5, 3, 8);
    private static readonly NetOptions s_number = new(5, 1, 8);

    [TestMethod]
    [DataRow(false, false), DataRow(false, true), DataRow(true, false), DataRow(true, true)]
    public void Train_LossThatIsTheTasks_GivesTheTasksModelOnAnyNumberOfRanks(bool isRegression, bool isWeighted)
    {
        using var folder = new TempFolder();
        Data(folder["data"], isRegression, isWeighted);
        var o = isRegression ? s_number : s_classes;
        var expected = Train(1, folder["data"], isRegression, () => new GroupedNet(o), hasMetrics: false);
        foreach (var worldSize in (int[])[1, 3])
        {
            var run = Train(worldSize, folder["data"], isRegression, () => new OwnTraining(o));
            AssertSame(expected, run);
            var (last, metrics) = (run.Recorders[0].Epochs[^1], MetricNames.OfValidation(run.Recorders[0].Epochs[^1]));
            CollectionAssert.IsSubsetOf(MetricNames.Of(last.Task).Concat(["Mean label", "Mean output", "Right"]).ToArray(), metrics.Keys.ToArray());
            if (isRegression)
                continue;
            // The metric is the task's own, by another name.
            Assert.AreEqual(metrics["MicroAccuracy"], metrics["Right"], 1e-6);
            Assert.AreEqual(MetricNames.OfTraining(last)["MicroAccuracy"], MetricNames.OfTraining(last)["Right"], 1e-6);
        }
    }

    [TestMethod]
    public void Train_OwnMetrics_AreTheSameOnAnyNumberOfRanksAndOnADevice()
    {
        using var folder = new TempFolder();
        Data(folder["data"], isRegression: false, isWeighted: true);
        var runs = new[] { (1, false), (3, false), (1, true) }.Select(r => Train(r.Item1, folder["data"], false, () => new OwnTraining(s_classes), onDevice: r.Item2)).ToArray();
        foreach (var run in runs.Skip(1))
            foreach (var (one, other) in runs[0].Recorders[0].Epochs.Zip(run.Recorders[0].Epochs))
                foreach (var (name, value) in MetricNames.OfTraining(one).Concat(MetricNames.OfValidation(one)).Zip(MetricNames.OfTraining(other).Concat(MetricNames.OfValidation(other)), (a, b) => (a.Key, (a.Value, b.Value))))
                    Assert.AreEqual(value.Item1, value.Item2, 1e-3, name);
        Assert.AreEqual(1, MetricNames.OfTraining(runs[0].Recorders[0].Epochs[0])["Mean label"], 0.2); // of 0, 1 and 2
    }

    [TestMethod, DataRow(1), DataRow(3)]
    public void Checkpoint_ManyEpochsOfTheMostAndLongestMetrics_IsWritten(int worldSize)
    {
        using var folder = new TempFolder();
        Data(folder["data"], isRegression: false, isWeighted: false);
        var spec = Spec(isRegression: false);
        (spec.Epochs, spec.GlobalBatchSize) = (40, 80);
        var run = Cluster.Train(spec, worldSize, folder["data"], configure: r => r.Value with
        {
            Module = s => new TorchModuleSource(() => new ManyMetrics(s_classes), s.Seed) { OutputSize = 3, OwnMetrics = s_names },
        }).ShouldSucceed();
        Assert.HasCount(39, run.Recorders[0].Checkpoints);
        Assert.IsEmpty(run.Recorders[0].Logs);
    }

    [TestMethod]
    public void Train_BufferOfInfiniteNumbers_IsKeptAsItIs()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 8, 40, i => [.. Enumerable.Range(0, 8).Select(j => (i + j) % 5 / 5f)], i => i % 3);
        var spec = Spec(isRegression: false);
        spec.Module.Torch.InputSize = 8;
        var run = Cluster.Train(spec, 2, folder["data"], configure: r => r.Value with
        {
            Module = s => new TorchModuleSource(() => new MaskedAttention(new NetOptions(8, 3)), s.Seed) { OutputSize = 3 },
        }).ShouldSucceed();
        CollectionAssert.AreEqual(new[] { 0, float.NegativeInfinity, 0, 0 }, run.Tensors["mask"]);
    }

    [TestMethod]
    public void Train_OwnStep_IsWhatIsDifferentiatedOnAnyNumberOfRanks()
    {
        using var folder = new TempFolder();
        Data(folder["data"], isRegression: false, isWeighted: true); // 80 rows in batches of 26: one rank of three has none of the last
        var plain = Train(1, folder["data"], false, () => new OwnTraining(s_classes));
        var one = Train(1, folder["data"], false, () => new OwnSteps(s_classes));
        AssertSame(one, Train(3, folder["data"], false, () => new OwnSteps(s_classes)));
        var firstEpoch = (int)(plain.Result.Steps / plain.Result.Epochs);
        for (var i = 0; i < firstEpoch; i++)
            Assert.AreEqual(plain.Losses[i], one.Losses[i], 1e-4, $"step {i + 1}");
        Assert.IsLessThan(0.7 * plain.Losses[firstEpoch], one.Losses[firstEpoch], "The second epoch's loss is half.");
        Assert.AreEqual(MetricNames.OfTraining(plain.Recorders[0].Epochs[0])["Right"], MetricNames.OfTraining(one.Recorders[0].Epochs[0])["Right"], 1e-6);
    }

    [TestMethod]
    public void Resume_GroupsStepAndMetrics_GoOnWhereTheyWere()
    {
        using var folder = new TempFolder();
        Data(folder["data"], isRegression: false, isWeighted: false);
        var whole = Train(2, folder["data"], false, () => new OwnSteps(s_classes));
        File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints.First().Content);

        var rest = Train(1, folder["data"], false, () => new OwnSteps(s_classes), resumePath: folder["checkpoint"]);

        Assert.HasCount(3, rest.Result.History);
        foreach (var (one, other) in whole.Result.History.Zip(rest.Result.History))
        {
            Assert.AreEqual(one.TrainingLoss, other.TrainingLoss, 1e-4, $"epoch {one.Epoch + 1}");
            Assert.AreEqual(MetricNames.OfTraining(one)["Mean output"], MetricNames.OfTraining(other)["Mean output"], 1e-4, $"epoch {one.Epoch + 1}");
        }
    }

    public static IEnumerable<object[]> Bad =>
    [
        ["throws", "", "Module \"BadLoss\" failed in its Loss: InvalidOperationException: no such loss"],
        ["null", "", "Module \"BadLoss\" returned null from its Loss, expected [6, 1]"],
        ["columns", "", "Module \"BadLoss\" returned [6, 2] of Float32 from its Loss for 6 rows, expected [6, 1]"],
        ["double", "", "Module \"BadLoss\" returned [6, 1] of Float64 from its Loss for 6 rows, expected [6, 1]"],
        ["detached", "", "returned a loss from its Loss that does not depend on its parameters"],
        ["nan", "", "Module \"BadLoss\" returned a loss of NaN from its Loss on random rows"],
        ["sum", "", "Loss of module \"BadLoss\" is "],
        ["broadcast", "", "Loss of module \"BadLoss\" is "],
        ["", "throws", "Module \"BadLoss\" failed in its Metrics: InvalidOperationException: no such metric"],
        ["", "null", "Module \"BadLoss\" returned null from its Metrics"],
        ["", "name", "of module \"BadLoss\" has a name that cannot be shown"],
        ["", "taken", "Metric \"rsquared\" of module \"BadLoss\" is called as one of the task's"],
        ["", "many", "Module \"BadLoss\" has 25 metrics, expected at most 24"],
        ["", "columns", "Metric \"wide\" of module \"BadLoss\" is [6, 2] of Float32 for 6 rows, expected [6, 1]"],
        ["", "infinite", "Metric \"ratio\" of module \"BadLoss\" is "],
        ["", "sum", "Metric \"total\" of module \"BadLoss\" is "],
    ];

    [TestMethod]
    [DynamicData(nameof(Bad))]
    public void Trial_LossOrMetricsThatNoJobCanJoin_AreRefusedBeforeTheFirstStep(string loss, string metrics, string message)
    {
        RankTraining.Preload();
        using var scope = NewDisposeScope();
        var trial = new TorchModuleSource(() => new BadLoss(new BadLossOptions(loss, metrics)), 1);
        var spec = Cluster.Spec(s => (s.Task, s.Module, s.Data.Label) = (MlTask.Regression, new ModuleSpec { Torch = new TorchModuleSpec { InputSize = 10, OutputSize = 1 } }, new LabelScaling { Scale = 1 }));

        var e = Assert.ThrowsExactly<UserModuleException>(() => ModuleTrial.Run(trial, new RankStart { Spec = spec }));

        StringAssert.Contains(e.Message, message);
        Assert.AreEqual(message.Contains("failed in", StringComparison.Ordinal), e.Stack.Any(l => l.Contains("at TorchModules.BadLoss.", StringComparison.Ordinal)));
    }

    [TestMethod]
    public void Trial_LossWithoutWeights_IsRefusedOnlyWhereRowsHaveSome()
    {
        RankTraining.Preload();
        using var scope = NewDisposeScope();
        using var folder = new TempFolder();
        foreach (var isWeighted in (bool[])[false, true])
        {
            Data(folder["data"], isRegression: true, isWeighted);
            var start = new RankStart { Spec = Spec(isRegression: true), DatasetPath = folder["data"] };
            var trial = new TorchModuleSource(() => new Unweighted(s_number), 1);
            if (isWeighted)
                StringAssert.Contains(Assert.ThrowsExactly<UserModuleException>(() => ModuleTrial.Run(trial, start)).Message, "the job's rows have weights");
            else
                CollectionAssert.AreEqual((string[])["Mean label", "Mean output", "Right"], ModuleTrial.Run(trial, start).ToArray());
        }
    }

    [TestMethod]
    [DataRow("sum", false, "their sum"), DataRow("sum", true, "their sum"), DataRow("unweighted", false, null), DataRow("unweighted", true, "without the weights that the job's rows have")]
    [DataRow("together", true, null), DataRow("mean", true, null), DataRow("noisy rows", true, null)]
    public void Trial_Step_IsRefusedWhereItIsNoMean(string how, bool isWeighted, string? message)
    {
        RankTraining.Preload();
        using var scope = NewDisposeScope();
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 10, 20, i => new float[10], i => i, isWeighted ? i => 1 + i : null);
        var start = new RankStart { Spec = Spec(isRegression: true), DatasetPath = folder["data"] };
        start.Spec.Module.Torch.InputSize = 10;
        var trial = new TorchModuleSource(() => new BadStep(how), 1);
        if (message is null)
            Assert.IsEmpty(ModuleTrial.Run(trial, start));
        else
            StringAssert.Contains(Assert.ThrowsExactly<UserModuleException>(() => ModuleTrial.Run(trial, start)).Message, message);
    }

    private static void AssertSame(Run expected, Run run)
    {
        Assert.HasCount(expected.Losses.Length, run.Losses);
        for (var i = 0; i < expected.Losses.Length; i++)
            Assert.AreEqual(expected.Losses[i], run.Losses[i], 1e-4 * Math.Max(1, expected.Losses[i]), $"step {i + 1}");
        foreach (var (one, other) in expected.Recorders[0].Epochs.Zip(run.Recorders[0].Epochs))
            Assert.AreEqual(one.ValidationLoss, other.ValidationLoss, 1e-4 * Math.Max(1, one.ValidationLoss), $"epoch {one.Epoch + 1}");
        foreach (var (name, values) in expected.Tensors)
            for (var i = 0; i < values.Length; i++)
                Assert.AreEqual(values[i], run.Tensors[name][i], 1e-3f, $"{name}[{i}]");
    }

    private static void Data(string path, bool isRegression, bool isWeighted)
    {
        var random = new Random(5);
        var rows = Enumerable.Range(0, RowCount).Select(i => Enumerable.Range(0, 5).Select(j => (float)(random.NextDouble() + (j == i % 3 ? 1 : 0))).ToArray()).ToArray();
        Datasets.Write(path, 5, RowCount, i => rows[i], i => isRegression ? rows[i][0] - rows[i][1] : i % 3, isWeighted ? i => 0.5f + (i % 4) : null);
    }

    private static JobSpec Spec(bool isRegression) => Cluster.Spec(s =>
    {
        (s.Epochs, s.GlobalBatchSize, s.Data.ValidationFraction, s.Checkpoint) = (3, 26, 0.2, new CheckpointSpec { IntervalEpochs = 1, KeepLast = 5 });
        s.Task = isRegression ? MlTask.Regression : MlTask.Multiclass;
        s.Module = new ModuleSpec { Torch = new TorchModuleSpec { InputSize = 5, OutputSize = isRegression ? 1 : 3 } };
    });

    private static Run Train(int worldSize, string path, bool isRegression, Func<nn.Module<Tensor, Tensor>> make, bool onDevice = false, string? resumePath = null, bool hasMetrics = true) =>
        Cluster.Train(Spec(isRegression), worldSize, path, resumePath, configure: r => r.Value with
        {
            OnDevice = onDevice,
            Module = s => new TorchModuleSource(make, s.Seed) { OutputSize = isRegression ? 1 : 3, OwnMetrics = hasMetrics ? ["Mean label", "Mean output", "Right"] : [] },
        }).ShouldSucceed();

    private static readonly string[] s_names = [.. Enumerable.Range(0, MetricNames.MaxOwn).Select(i => $"m{i:D2}".PadRight(MetricNames.MaxOwnLength, 'x'))];

    private sealed class ManyMetrics(NetOptions o) : OwnTraining(o)
    {
        public override IReadOnlyDictionary<string, Tensor> Metrics(Tensor outputs, Tensor labels, Tensor weights) => s_names.ToDictionary(n => n, _ => outputs.sum(1));
    }

    private sealed class Unweighted(NetOptions o) : OwnTraining(o)
    {
        public override Tensor Loss(Tensor outputs, Tensor labels, Tensor weights) => (outputs - labels).square().mean();
    }
}
