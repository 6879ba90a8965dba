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
        (s => s.Loss = new LossSpec(), "Loss is not set"),
        (s => s.Loss = new LossSpec { Focal = new FocalLossSpec { Gamma = -1 } }, "FocalGamma is -1"),
        (s => s.Loss = new LossSpec { Focal = new FocalLossSpec { Gamma = double.NaN } }, "FocalGamma is NaN"),
        (s => (s.Loss, s.LabelSmoothing) = (new LossSpec { Focal = new FocalLossSpec { Gamma = 2 } }, 0.1), "LabelSmoothing is 0.1 beside FocalGamma 2"),
        (s => s.Loss = new LossSpec { Huber = new HuberLossSpec { Delta = 1 } }, "Loss is Huber in multiclass training"),
        (s => s.Loss = new LossSpec { Quantile = new QuantileLossSpec { Level = 1 } }, "Level of the quantile's loss is 1"),
        (s => s.Loss = new LossSpec { Huber = new HuberLossSpec { Delta = 0 } }, "Delta of Huber's loss is 0"),
        (s => s.Module.Mlp.OutputBias.Add([1, 2]), "Output biases are 2, expected none, or one for each of the 3 outputs"),
        (s => s.Module.Mlp.OutputBias.Add([1, float.NaN, 2]), "Output biases go beyond 100"),
        (s => s.Module.Mlp.OutputBias.Add([1, -101, 2]), "Output biases go beyond 100"),
        (s => s.Module = null, "Module is not set"),
        (s => s.Module.Mlp.Steps = new FeatureStepsSpec(), "Features have steps and no scaling"),
        (s => s.Module.Mlp.Steps = new FeatureStepsSpec { Slot = { 1, 9999 }, Start = { 0, 0 }, Scale = { 1, 1 } }, "Features have 2 steps with 2 starts and 2 scales"),
        (s => s.Module.Mlp.Steps = new FeatureStepsSpec { Slot = { 1 }, Start = { 0 }, Scale = { 0 } }, "Features have 1 steps"),
        (s => s.Module.Mlp.Steps = new FeatureStepsSpec { Slot = { 1 }, Start = { float.NaN }, Scale = { 1 } }, "Features have 1 steps"),
        (s => (s.Module.Mlp.InputSize, s.Module.Mlp.Steps) = (int.MaxValue, new FeatureStepsSpec { Slot = { 1 }, Start = { 0 }, Scale = { 1 } }), "with 2,147,483,647 features, expected at most 500,000,000"),
        (s => s.Module.Mlp.Categories.Add(new CategorySpec { KeyCount = 0, Width = 2 }), "categoricalColumnNames has 1 columns, of which one has 0 keys of 2 numbers, expected at most 1,000"),
        (s => s.Module.Mlp.Categories.Add(new CategorySpec { KeyCount = 3, Width = 2000 }), "of which one has 3 keys of 2,000 numbers"),
        (s => s.Module.Mlp.Categories.Add(Enumerable.Repeat(new CategorySpec { KeyCount = 3, Width = 2 }, 999)), "categoricalColumnNames has 999 columns"),
        (s => s.Module.Mlp.Categories.Add(new CategorySpec { KeyCount = 16_000_000, Width = 50 }), "The tables of categoricalColumnNames are 800,000,000 numbers, the largest of 16,000,000 keys by 50, expected at most 500,000,000"),
        (s => Sparse(s).Categories.Add(new CategorySpec { KeyCount = 3, Width = 2 }), "categoricalColumnNames has 1 columns beside sparse features"),
        (s => (s.Module.Mlp.Sparse, s.BitExact) = (new SparseInputSpec(), new BitExactSpec { MicroBatches = 8 }), "Reproducibility is BitExact beside sparse features"),
        (s => (s.Module.Mlp.Sparse, s.Optimizer.AveragingDecay) = (new SparseInputSpec(), 0.9), "WeightAveraging is on beside sparse features"),
        (s => (s.Module.Mlp.Sparse, s.Resources.Device) = (new SparseInputSpec(), DeviceKind.Cuda), "Device is Cuda beside sparse features"),
        (s => (s.Module.Mlp.Sparse, s.Resources.Placement) = (new SparseInputSpec(), Placement.Spread), "Placement is Spread beside sparse features"),
        (s => s.Module.Mlp.Sparse = new SparseInputSpec { MeanNonZeros = double.NaN }, "Rows have NaN features that are not zero"),
        (s => (s.Module.Mlp.Sparse, s.Data.Features) = (new SparseInputSpec(), new FeatureScaling { Mean = { 1 }, Scale = { 1 } }), "expected no means, as features are sparse"),
        (s => s.Module = Own(m => m.PackageId = "../code"), "Code package is \"../code\", expected 64 lower-case"),
        (s => s.Module = Own(m => m.Type = ""), "Module's type is \"\", expected a name of 1 to 1,000"),
        (s => s.Module = Own(m => m.Assembly = "a\nb"), "Module's assembly is"),
        (s => s.Module = Own(m => m.Options = new string('1', 70_000)), "The module's options are 70,000 characters of JSON, expected at most 65,536"),
        (s => s.Module = Own(m => m.OutputSize = 1), "Output size is 1, expected at least 2"),
        (s => (s.Task, s.Module) = (MlTask.Regression, Own(m => m.OutputSize = 2)), "Output size is 2, expected 1 in regression training"),
        (s => (s.Module, s.Data.Features) = (Own(m => m.InputSize = 5), new FeatureScaling { Mean = { 1 }, Scale = { 1 } }), "Feature scaling has 1 means and 1 scales, expected 5"),
        (s => s.Module = Columns(_ => { }), "The module has 1 outputs and 1 labels by name in multiclass training, expected none"),
        (s => s.Task = MlTask.Own, "Task is own with a network of kind Mlp, expected a module of your own"),
        (s => (s.Task, s.Loss, s.Module) = (MlTask.Own, new LossSpec { Huber = new HuberLossSpec { Delta = 1 } }, Columns(_ => { })), "Loss is Huber in own training, expected none, but the module's own"),
        (s => (s.Task, s.Module) = (MlTask.Own, Columns(m => m.Labels.Clear())), "The module has 1 inputs, 0 labels and 1 outputs of the size 0, expected at least one of each"),
        (s => (s.Task, s.Module) = (MlTask.Own, Columns(m => m.OutputSize = 3)), "1 outputs of the size 3, expected at least one of each, at most 1,000, and no size"),
        (s => (s.Task, s.Module) = (MlTask.Own, Columns(m => m.Labels[0].Size = 3)), "The module's inputs and labels have 6 numbers a row, expected 4"),
        (s => (s.Task, s.Module) = (MlTask.Own, Columns(m => m.Labels[0].KeyCount = -1)), "Label \"Paid\" of the module has -1 keys"),
        (s => (s.Task, s.Module) = (MlTask.Own, Columns(m => m.Outputs[0].Column = "Prices")), "Output \"Amount\" of the module has the column \"Prices\", which is called as an input"),
        (s => (s.Task, s.Module) = (MlTask.Own, Columns(m => m.Outputs[0].Column = "a\nb")), "Output \"Amount\" of the module has the column"),
        (s => (s.Task, s.Module) = (MlTask.Own, Columns(m => m.Outputs[0].Name = "a.b")), "Output \"a.b\" of the module has a name that no tensor of a record has"),
        (s => (s.Task, s.Module) = (MlTask.Own, Columns(m => m.Outputs.Add(new ModuleOutput { Name = "Other", Column = "Amount" }))), "Two outputs of the module have the column \"Amount\""),
        (s => (s.Task, s.Module) = (MlTask.Own, Columns(m => m.Outputs.Add(new ModuleOutput { Name = "Amount", Column = "Other" }))), "Two outputs of the module have the same name"),
        (s => s.Precision = (Precision)3, "Precision is 3, expected one of Float32, TensorFloat32, BFloat16"),
        (s => (s.Precision, s.Module) = (Precision.BFloat16, Own(_ => { })), "Precision is BFloat16 with a module of your own, expected Float32 or TensorFloat32"),
        (s => (s.Precision, s.BitExact) = (Precision.BFloat16, new BitExactSpec { MicroBatches = 8 }), "Precision is BFloat16 beside Reproducibility.BitExact, expected Float32"),
        (s => s.GradientCompression = (Compression)2, "GradientCompression is 2, expected one of None, BFloat16"),
        (s => (s.GradientCompression, s.BitExact) = (Compression.BFloat16, new BitExactSpec { MicroBatches = 8 }), "GradientCompression is BFloat16 beside Reproducibility.BitExact, expected None"),
        (s => s.Optimizer.LearningRate = 0, "LearningRate is 0"),
        (s => s.Optimizer.WeightDecay = -1, "WeightDecay is -1"),
        (s => s.Optimizer.Adamw.Beta2 = 1, "Beta2 is 1"),
        (s => s.Optimizer.Adam = new AdamSpec { Beta1 = -1, Epsilon = 1 }, "Beta1 is -1"),
        (s => s.Optimizer = null, "Optimizer is not set"),
        (s => s.Optimizer.AveragingDecay = 1, "WeightAveraging.Decay is 1"),
        (s => s.Optimizer.AveragingDecay = double.NaN, "WeightAveraging.Decay is NaN"),
        (s => (s.Optimizer.AveragingDecay, s.Module.Mlp.Normalization) = (0.9, LayerNormalization.Batch), "WeightAveraging is on beside Normalization Batch"),
        (s => s.StartFrom = new StartingModel { ModelId = "../x", SizeBytes = 2000 }, "Id of the model to start from is \"../x\""),
        (s => s.StartFrom = new StartingModel { ModelId = new string('0', 64), SizeBytes = 1L << 40 }, "The model to start from has 1,099,511,627,776 bytes, expected "),
        (s => s.ModelFrame = new ModelFrame { FileId = "../x", SizeBytes = 20 }, "Id of the model's frame is \"../x\""),
        (s => s.ModelFrame = new ModelFrame { FileId = new string('0', 64), SizeBytes = 1L << 40 }, "Bytes of the model's frame is 1099511627776, expected at most 67,108,864"),
        (s => s.Schedule.WarmupFraction = 1, "WarmupFraction is 1"),
        (s => s.Schedule = new ScheduleSpec { Kind = ScheduleKind.Exponential }, "InitialFraction is 0"),
        (s => s.Resources.MinRanks = 9, "MinRanks is 9"),
        (s => s.Resources.MaxRanksPerWorker = 2, "MinRanksPerWorker is 0 and MaxRanksPerWorker 2 beside Placement OneWorker"),
        (s => (s.Resources.Placement, s.Resources.MinRanksPerWorker, s.Resources.MaxRanksPerWorker) = (Placement.Pack, 3, 2), "MinRanksPerWorker is 3, expected at most MaxRanksPerWorker, 2"),
        (s => (s.Resources.Placement, s.Resources.MinRanksPerWorker) = (Placement.Spread, 70_000), "MinRanksPerWorker is 70000, expected at most 65,536"),
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
        (s => s.Epochs = int.MaxValue, "Epochs is 2147483647, expected at most 1,000,000. Use EarlyStopping"),
        (s => s.MaxAttempts = int.MaxValue, "MaxAttempts is 2147483647, expected at most 1,000"),
        (s => s.Checkpoint = new CheckpointSpec { KeepLast = int.MaxValue }, "CheckpointsKept is 2147483647, expected at most 1,000"),
        (s => s.Checkpoint = new CheckpointSpec { IntervalSeconds = double.PositiveInfinity }, "CheckpointInterval is Infinity s"),
        (s => s.Checkpoint = new CheckpointSpec { IntervalSeconds = double.NaN }, "CheckpointInterval is NaN s"),
        (s => s.QueueTimeoutSeconds = double.NaN, "QueueTimeout is NaN s"),
        (s => s.Resources.MaxRanks = int.MaxValue, "MaxRanks is 2147483647, expected at most 65,536. 0 is as many as one worker offers."),
        (s => s.Resources.MinRanks = int.MinValue, "MinRanks is -2147483648, expected at least 0"),
        (s => s.Resources.MaxRanks = -1, "MaxRanks is -1, expected at least 0"),
        (s => s.EarlyStopping = new EarlyStoppingSpec { PatienceEpochs = int.MinValue }, "EarlyStopping.Patience is -2147483648"),
        (s => s.EarlyStopping = new EarlyStoppingSpec { MinImprovement = double.NaN }, "EarlyStopping.MinImprovement is NaN"),
        (s => s.Optimizer.LearningRate = double.Epsilon, "LearningRate is 5E-324, expected a number from 1E-12 to 1E+30"),
        (s => s.Optimizer.LearningRate = double.MaxValue, "LearningRate is 1.7976931348623157E+308"),
        (s => s.Optimizer.LearningRate = double.PositiveInfinity, "LearningRate is Infinity"),
        (s => s.Optimizer.WeightDecay = double.NaN, "WeightDecay is NaN"),
        (s => s.Optimizer.WeightDecay = 1e300, "WeightDecay is 1E+300"),
        (s => s.Optimizer.WeightDecay = 1e-300, "WeightDecay is 1E-300, expected 0 or a number from 1E-30"),
        (s => s.GradientClipNorm = double.PositiveInfinity, "GradientClipNorm is Infinity"),
        (s => s.GradientClipNorm = 1e-40, "GradientClipNorm is 1E-40"),
        (s => s.Module.Mlp.Dropout = double.NaN, "Dropout is NaN"),
        (s => s.Module.Mlp.Dropout = 1 - 1e-12, "Dropout is 0.999999999999, expected a fraction from 0 to 0.999"),
        (s => s.LabelSmoothing = double.NaN, "LabelSmoothing is NaN"),
        (s => s.Data.ValidationFraction = double.NaN, "ValidationFraction is NaN"),
        (s => s.Schedule.WarmupFraction = double.NaN, "WarmupFraction is NaN"),
        (s => s.Schedule.FinalFraction = double.NaN, "FinalFraction is NaN"),
        (s => s.Optimizer.Adamw.Beta2 = 1 - 1e-12, "Beta2 is 0.999999999999"),
        (s => s.Optimizer.Adamw.Epsilon = double.PositiveInfinity, "Epsilon is Infinity"),
        (s => s.Optimizer.Adamw.Epsilon = 1e-50, "Epsilon is 1E-50"),
        (s => s.Optimizer.Sgd = new SgdSpec { Momentum = double.NaN }, "Momentum is NaN"),
        (s => s.ClassWeights.Add([1, 1, 1e-40f]), "ClassWeights has"),
        (s => s.Module.Mlp.HiddenSizes.Add(Enumerable.Repeat(1, 100_000)), "HiddenLayers has 100,001 layers, expected at most 1,000"),
        (s => (s.Module.Mlp.InputSize, s.Data.Features) = (1 << 24, new FeatureScaling()), "Features have 16,777,216 slots, expected at most 4,000,000 with NormalizeFeatures"),
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

    // Large, and harmless: a batch is at most the rows, and a rank's part of it at most the batch.
    [TestMethod]
    public void Validate_LargestBatchMicroBatchPatienceAndSeed_AreAccepted()
    {
        var spec = Valid();
        (spec.GlobalBatchSize, spec.MaxMicroBatchSize, spec.Seed, spec.Priority) = (int.MaxValue, int.MaxValue, ulong.MaxValue, int.MinValue);
        spec.Data.ValidationFraction = 0.1;
        spec.EarlyStopping = new EarlyStoppingSpec { PatienceEpochs = int.MaxValue };

        Assert.IsEmpty(JobSpecRules.Validate(spec));
    }

    // The client asks before it has means and scales.
    [TestMethod]
    public void Validate_TooManyFeaturesToScale_IsOneErrorWithWhatToDo()
    {
        var spec = Valid();
        spec.Module.Mlp.HiddenSizes.Clear();
        spec.Module.Mlp.InputSize = JobSpecRules.MaxScaledFeatures + 1;
        spec.Data.Features = new FeatureScaling();

        StringAssert.StartsWith(JobSpecRules.Validate(spec).Single(), "Features have 4,000,001 slots, expected at most 4,000,000 with NormalizeFeatures");
    }

    [TestMethod]
    public void Validate_AMostlyScaledSpec_FitsAMessage()
    {
        var features = new FeatureScaling();
        features.Mean.AddRange(Enumerable.Repeat(1f, JobSpecRules.MaxScaledFeatures));
        features.Scale.AddRange(features.Mean);

        Assert.IsLessThan(64 << 20, features.CalculateSize());
    }

    [TestMethod]
    [DataRow(int.MaxValue, 0, 0, 1, 300L, DisplayName = "a batch is at most the rows")]
    [DataRow(100, 0, 0, 4, 100L, DisplayName = "over all ranks")]
    [DataRow(100, 10, 0, 4, 40L, DisplayName = "micro-batches of four ranks")]
    [DataRow(100, int.MaxValue, 0, 4, 100L, DisplayName = "a micro-batch is at most the batch")]
    [DataRow(100, 0, 8, 4, 52L, DisplayName = "parts of bit-exact training")]
    public void LeastBytes_OfAStep_CountsTheRowsAtOnce(int batch, int microBatch, int parts, int ranks, long rows)
    {
        var spec = Valid();
        (spec.GlobalBatchSize, spec.MaxMicroBatchSize, spec.BitExact) = (batch, microBatch, parts == 0 ? null : new BitExactSpec { MicroBatches = parts });

        // 4 features, a hidden layer of 8 before and after its activation, 3 outputs.
        Assert.AreEqual((Int128)rows * (4 + 16 + 3) * sizeof(float), BatchMemory.LeastBytes(spec, 300, ranks, isOnGpu: false));
        Assert.AreEqual((Int128)rows * 4 * sizeof(float), BatchMemory.LeastBytes(spec, 300, ranks, isOnGpu: true));
        Assert.AreEqual((Int128)(rows / ranks) * 4 * sizeof(float), BatchMemory.LeastBytes(spec, 300, ranks, isOnGpu: true, localRanks: 1), "Of a machine with one of them.");
    }

    [TestMethod]
    public void Refusal_OfALargeBatch_NamesSizesAndRemedy()
    {
        var spec = Valid();
        spec.GlobalBatchSize = int.MaxValue;
        spec.Module.Mlp.InputSize = 10_000;

        Assert.IsNull(BatchMemory.Refusal(spec, 1000, 1, isOnGpu: false, 0, 1L << 30));
        Assert.AreEqual(
            "BatchSize is 2,147,483,647: a step's 1,000,000 rows take at least 37.3 GiB beside 1.0 GiB for the module, expected at most the 8.0 GiB of the machine. Make BatchSize smaller, or set MaxMicroBatchSize.",
            BatchMemory.Refusal(spec, 1_000_000, 1, isOnGpu: false, 1L << 30, 8L << 30));
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

    private static ModuleSpec Columns(Action<TorchModuleSpec> change) => Own(m =>
    {
        m.OutputSize = 0;
        m.Inputs.Add(new ModuleInput { Name = "Prices", Size = 3 });
        m.Labels.Add(new ModuleInput { Name = "Paid", Size = 1 });
        m.Outputs.Add(new ModuleOutput { Name = "Amount", Column = "Amount" });
        change(m);
    });

    private static MlpSpec Sparse(JobSpec spec)
    {
        spec.Module.Mlp.Sparse = new SparseInputSpec();
        return spec.Module.Mlp;
    }

    private static ModuleSpec Own(Action<TorchModuleSpec> change)
    {
        var own = new TorchModuleSpec { InputSize = 4, OutputSize = 3, PackageId = new string('b', 64), Assembly = "Modules", Type = "Modules.Net" };
        change(own);
        return new ModuleSpec { Torch = own };
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
