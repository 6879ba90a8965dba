using MLDistributed.Protocol;

namespace Protocol.Tests;

[TestClass]
public sealed class JobSpecRulesTests
{
    private static readonly (Action<JobSpec> Spoil, string Names)[] Mistakes =
    [
        (s => s.Epochs = 0, "Epochs is 0"),
        (s => s.GlobalBatchSize = -5, "BatchSize is -5"),
        (s => s.MaxMicroBatchSize = -1, "MaxMicroBatchSize is -1"),
        (s => (s.MaxMicroBatchSize, s.Module.Mlp.Normalization) = (8, LayerNormalization.Batch), "MaxMicroBatchSize is 8 beside Normalization Batch"),
        (s => (s.MaxMicroBatchSize, s.BitExact) = (8, new BitExactSpec { MicroBatches = 8 }), "MaxMicroBatchSize is 8 beside Reproducibility.BitExact"),
        (s => s.MaxAttempts = 0, "MaxAttempts is 0"),
        (s => s.GradientClipNorm = double.NaN, "GradientClipNorm is NaN"),
        (s => s.LabelSmoothing = 1, "LabelSmoothing is 1"),
        (s => s.Data.ValidationFraction = 1.5, "ValidationFraction is 1.5"),
        (s => s.Module.Mlp.HiddenSizes.Add(0), "HiddenLayers is [8, 0]"),
        (s => s.Module.Mlp.HiddenSizes.Add([int.MaxValue, int.MaxValue]), "HiddenLayers is [8, 2147483647, 2147483647], which makes 4,611,686,0"),
        (s => s.Module.Mlp.Dropout = -0.1, "Dropout is -0.1"),
        (s => s.Module.Mlp.OutputSize = 1, "Output size is 1"),
        (s => s.Module = null, "Module is not set"),
        (s => s.Optimizer.LearningRate = 0, "LearningRate is 0"),
        (s => s.Optimizer.WeightDecay = -1, "WeightDecay is -1"),
        (s => s.Optimizer.Adamw.Beta2 = 1, "Beta2 is 1"),
        (s => s.Optimizer.Adam = new AdamSpec { Beta1 = -1, Epsilon = 1 }, "Beta1 is -1"),
        (s => s.Optimizer = null, "Optimizer is not set"),
        (s => s.Schedule.WarmupFraction = 1, "WarmupFraction is 1"),
        (s => s.Resources.MinRanks = 9, "MinRanks is 9"),
        (s => s.ClassWeights.Add(1), "ClassWeights has 1 numbers"),
        (s => s.Name = new string('n', 201), "JobName has 201 characters (\"nnnnnnnnnnnnnnnnnnnn...\"), expected at most 200"),
        (s => s.Name = "two\nlines", "JobName has the control character U+000A at 3"),
        (s => s.Data.WeightScale = -1, "Weight scale is -1"),
        (s => s.Data.ValidationWeightScale = double.PositiveInfinity, "Validation weight scale is"),
        (s => s.EarlyStopping = new EarlyStoppingSpec { PatienceEpochs = 2 }, "EarlyStopping is on without validation"),
        (s => s.Data.DatasetId = "nonsense", "\"nonsense\""),
        (s => s.Data.RowCount = 0, "Row count is 0"),
        (s => s.Data.Features = new FeatureScaling { Mean = { 1 }, Scale = { 1 } }, "1 means"),
        (s => s.BitExact = new BitExactSpec { MicroBatches = 33 }, "MicroBatches is 33, expected 1 to 32"),
        (s => (s.BitExact, s.Module.Mlp.Normalization) = (new BitExactSpec { MicroBatches = 8 }, LayerNormalization.Batch), "Normalization is Batch beside Reproducibility.BitExact"),
        (s => (s.BitExact, s.Resources.Device) = (new BitExactSpec { MicroBatches = 8 }, DeviceKind.Cuda), "Device is Cuda beside Reproducibility.BitExact"),
        (s => s.Task = MlTask.Unspecified, "Task is not set"),
    ];

    [TestMethod]
    public void Validate_AValidSpec_FindsNothing() => Assert.IsEmpty(JobSpecRules.Validate(Valid()));

    [TestMethod]
    public void Validate_OneMistake_NamesOptionAndValue()
    {
        foreach (var (spoil, names) in Mistakes)
        {
            var spec = Valid();
            spoil(spec);
            var errors = JobSpecRules.Validate(spec);
            Assert.IsTrue(errors.Any(e => e.Contains(names, StringComparison.Ordinal)), $"\"{names}\" is not in: {string.Join(" ", errors)}");
        }
    }

    [TestMethod]
    public void Validate_SeveralMistakes_FindsThemAll()
    {
        var spec = Valid();
        spec.Epochs = 0;
        spec.GlobalBatchSize = 0;
        spec.Optimizer.LearningRate = -1;

        Assert.HasCount(3, JobSpecRules.Validate(spec));
    }

    private static JobSpec Valid() => new()
    {
        Task = MlTask.Multiclass,
        Epochs = 1,
        GlobalBatchSize = 32,
        MaxAttempts = 3,
        Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = 4, OutputSize = 3, HiddenSizes = { 8 } } },
        Data = new DataSpec { DatasetId = new string('a', 64), RowCount = 10 },
        Optimizer = new OptimizerSpec { LearningRate = 0.1, Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 } },
        Schedule = new ScheduleSpec(),
        Resources = new ResourceSpec { MinRanks = 1, MaxRanks = 4 },
    };
}
