using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;

namespace MLDistributed.Protocol;

/// <summary>What a job's specification must satisfy, checked by the client before data is sent and by the coordinator again.</summary>
public static class JobSpecRules
{
    /// <summary>The most parts of a global batch in bit-exact training.</summary>
    public const int MaxMicroBatches = 32;

    /// <summary>The most bytes of <see cref="JobSpec.ModelSchema"/>.</summary>
    public const int MaxModelSchemaBytes = 1 << 20;

    /// <summary>The most bytes of what stands around a job's network.</summary>
    public const int MaxModelFrameBytes = 64 << 20;

    /// <summary>The most characters of a job's name.</summary>
    public const int MaxNameLength = 200;

    /// <summary>The most parameters of a module: an ONNX file, as every protobuf message, holds 2 GiB.</summary>
    public const long MaxParameters = 500_000_000;

    /// <summary>A longer wait for workers is one without an end, and a longer time between checkpoints one without checkpoints.</summary>
    public const double MaxSeconds = 1e9;

    /// <summary>The most epochs: each leaves a line in the job's history, which is one message.</summary>
    public const int MaxEpochs = 1_000_000;

    /// <summary>The most features whose mean and scale a specification can carry: 8 bytes each, in a message of 64 MiB that may hold other things.</summary>
    public const int MaxScaledFeatures = 4_000_000;

    /// <summary>The most attempts, and the most checkpoints kept.</summary>
    public const int MaxAttempts = 1000;

    /// <summary>The most ranks that can be asked for.</summary>
    public const int MaxRanks = 65_536;

    /// <summary>The most workers that a job's ranks are on.</summary>
    public const int MaxWorkers = 256;

    /// <summary>The most hidden layers.</summary>
    public const int MaxHiddenLayers = 1000;

    // Ranks compute in float32 and take denormals as zero: what is smaller is nothing, what is larger is infinite once squared.
    private const double Smallest = 1e-30;
    private const double Largest = 1e30;

    // Beyond it no row that is more or less right counts at all.
    private const double LargestFocalGamma = 10;

    // Fewer rows than one in a million do not tell where it is.
    private const double LeastQuantile = 1e-6;

    // Below it the automatic weight decay, which grows as it falls, would leave its own range.
    private const double LeastLearningRate = 1e-12;

    // As floats, larger fractions are 1: averages would never move.
    private const double LargestDecay = 0.9999999;

    /// <summary>All that is wrong, each a sentence that names the option, its value and what was expected; empty when valid.</summary>
    public static IReadOnlyList<string> Validate(JobSpec spec)
    {
        var errors = new List<string>();
        var module = spec.Module?.Kind;
        var classCount = spec.Task switch { MlTask.Multiclass => module?.OutputSize ?? 0, MlTask.Binary => 2, _ => 0 };
        Check(spec.ModelSchema.Length <= MaxModelSchemaBytes, $"ModelSchema has {spec.ModelSchema.Length:N0} bytes, expected at most {MaxModelSchemaBytes:N0}.");
        Check(spec.Name.Length <= MaxNameLength, $"JobName has {spec.Name.Length:N0} characters (\"{spec.Name[..Math.Min(spec.Name.Length, 20)]}...\"), expected at most {MaxNameLength}.");
        Check(!spec.Name.Any(char.IsControl), $"JobName has the control character U+{(int)spec.Name.FirstOrDefault(char.IsControl):X4} at {spec.Name.TakeWhile(c => !char.IsControl(c)).Count()}, expected text on one line.");
        Between("Epochs", spec.Epochs, 1, MaxEpochs, " Use EarlyStopping to end sooner.");
        AtLeast("BatchSize", spec.GlobalBatchSize, 1);
        AtLeast("MaxMicroBatchSize", spec.MaxMicroBatchSize, 0);
        Between("MaxAttempts", spec.MaxAttempts, 1, MaxAttempts);
        NoneOr("GradientClipNorm", spec.GradientClipNorm, Smallest, Largest);
        Check(spec.QueueTimeoutSeconds is >= 0 and <= MaxSeconds, $"QueueTimeout is {spec.QueueTimeoutSeconds} s, expected 0 (for ever) to {MaxSeconds:N0} s.");
        CheckCheckpoint(spec.Checkpoint);
        Fraction("LabelSmoothing", spec.LabelSmoothing);
        Fraction("ValidationFraction", spec.Data?.ValidationFraction ?? 0);
        Check(spec.Task != MlTask.Unspecified, "Task is not set, expected multiclass, binary, regression, tagging, ranking or own.");
        Check(spec.Task is MlTask.Multiclass or MlTask.Tagging || spec.LabelSmoothing == 0, $"LabelSmoothing is {spec.LabelSmoothing}, expected 0: it is for multiclass training only.");
        CheckLoss(spec.Loss);
        CheckModule();
        CheckData(spec.Data);
        CheckOptimizer(spec.Optimizer);
        Fraction("WarmupFraction", spec.Schedule?.WarmupFraction ?? 0);
        Check(spec.Schedule is null || spec.Schedule.FinalFraction is >= 0 and <= 1, $"FinalFraction is {spec.Schedule?.FinalFraction}, expected 0 to 1.");
        Check(spec.Schedule?.Kind != ScheduleKind.Exponential || spec.Schedule.InitialFraction is >= LeastLearningRate and < 1 && spec.Schedule.WarmupFraction == 0, $"InitialFraction is {spec.Schedule?.InitialFraction}, expected a number from {LeastLearningRate} to below 1, without warm-up.");
        CheckResources(spec.Resources ?? new ResourceSpec());
        Check(spec.ClassWeights.Count == 0 || spec.ClassWeights.Count == classCount, $"ClassWeights has {spec.ClassWeights.Count} numbers, expected {(classCount > 0 ? $"one for each of the {classCount} classes" : $"none in {spec.Task.ToString().ToLowerInvariant()}")}.");
        Check(spec.ClassWeights.All(w => w == 0 || w is >= (float)Smallest and <= (float)Largest) && (spec.ClassWeights.Count == 0 || spec.ClassWeights.Any(w => w > 0)), $"ClassWeights has a negative or infinite number, or zeros alone, expected finite numbers of at least 0: 0, or {Smallest} to {Largest}.");
        Check(spec.MaxMicroBatchSize == 0 || module?.JoinsRows != true, $"MaxMicroBatchSize is {spec.MaxMicroBatchSize} beside {(module is MlpKind ? "Normalization Batch" : "the network's batch normalisation")}, expected 0: the statistics are those of a whole batch.{(module is MlpKind ? " Use Layer normalization." : "")}");
        Check(Enum.IsDefined(spec.Precision), $"Precision is {spec.Precision}, expected one of {string.Join(", ", Enum.GetNames<Precision>())}.");
        Check(spec.Precision != Precision.BFloat16 || spec.Module?.Torch is null, "Precision is BFloat16 with a module of your own, expected Float32 or TensorFloat32: it computes in the types that it says. Cast to ScalarType.BFloat16 and back where its forward is training alone: the graph that it is scored by has float32.");
        Check(spec.Precision != Precision.BFloat16 || spec.Module is null or { Mlp: not null } or { Torch: not null }, $"Precision is BFloat16 with a network of kind {spec.Module?.ModuleCase}, expected Float32 or TensorFloat32: of ours only that of dense layers computes in it.");
        Check(Enum.IsDefined(spec.GradientCompression), $"GradientCompression is {spec.GradientCompression}, expected one of {string.Join(", ", Enum.GetNames<Compression>())}.");
        if (spec.BitExact is { } exact)
        {
            Check(spec.GradientCompression == Compression.None, $"GradientCompression is {spec.GradientCompression} beside Reproducibility.BitExact, expected None: what is rounded on its way depends on which workers there are.");
            Check(spec.Precision != Precision.BFloat16, "Precision is BFloat16 beside Reproducibility.BitExact, expected Float32: which CPUs round how is not ours.");
            Check(spec.MaxMicroBatchSize == 0, $"MaxMicroBatchSize is {spec.MaxMicroBatchSize} beside Reproducibility.BitExact, expected 0: it has micro-batches of its own.");
            Check(exact.MicroBatches is >= 1 and <= MaxMicroBatches, $"MicroBatches is {exact.MicroBatches}, expected 1 to {MaxMicroBatches}.");
            Check(module?.JoinsRows != true, $"{(module is MlpKind ? "Normalization is Batch" : "The network has batch normalisation")} beside Reproducibility.BitExact, expected None or Layer: the statistics of a batch would join its parts in each layer.");
            Check(spec.Resources?.Device != DeviceKind.Cuda, "Device is Cuda beside Reproducibility.BitExact, expected Cpu: the order of a GPU's sums is not ours.");
        }

        if (spec.Module?.Mlp?.Sparse is not null)
        {
            const string Sparse = "beside sparse features";
            Check(spec.BitExact is null, $"Reproducibility is BitExact {Sparse}, expected UpToRounding, or FeatureEncoding Dense.");
            Check(spec.Resources is not { Placement: not Placement.OneWorker }, $"Placement is {spec.Resources?.Placement} {Sparse}, expected OneWorker, or FeatureEncoding Dense: which weights a step changes, ranks tell one another in memory.");
            Check(spec.Resources?.Device != DeviceKind.Cuda, $"Device is Cuda {Sparse}, expected Cpu, or FeatureEncoding Dense.");
            Check(spec.Optimizer is not { AveragingDecay: > 0 }, $"WeightAveraging is on {Sparse}, expected null, or FeatureEncoding Dense: an average moves all weights in each step.");
        }

        if (spec.Task == MlTask.Ranking)
        {
            Check(spec.Module?.Kind is null or MlpKind, $"Task is ranking with a network of kind {spec.Module?.ModuleCase}, expected that of dense layers.");
            Check(spec.MaxMicroBatchSize == 0, $"MaxMicroBatchSize is {spec.MaxMicroBatchSize} in ranking, expected 0: the rows of a group are compared with one another. Make BatchSize smaller.");
            Check(spec.Data?.WeightScale is null or 0 && spec.Data?.ValidationWeightScale is null or 0, "Weight scale is set in ranking, expected 0: rows have no weights.");
        }

        if (spec.EarlyStopping is { } stopping)
        {
            AtLeast("EarlyStopping.Patience", stopping.PatienceEpochs, 1);
            NotNegative("EarlyStopping.MinImprovement", stopping.MinImprovement);
            Check(spec.Data is { } d && (d.ValidationFraction > 0 || d.ValidationDatasetId.Length > 0), "EarlyStopping is on without validation data, expected a validation set or a ValidationFraction above 0.");
        }

        if (spec.StartFrom is not null && errors.Count == 0)
            CheckStart(spec.StartFrom);
        if (spec.StartingWeights is { } weights)
            CheckWeights(weights);
        if (spec.ModelFrame is { } frame)
        {
            Check(ContentHash.TryParse(frame.FileId, out _), $"Id of the model's frame is \"{VisibleText.Shortened(frame.FileId)}\", expected {ContentHash.Expectation}.");
            Between("Bytes of the model's frame", frame.SizeBytes, 1, MaxModelFrameBytes);
        }

        return errors;

        void Check(bool holds, string error)
        {
            if (!holds)
                errors.Add(error);
        }

        void AtLeast(string name, long value, long least) => Check(value >= least, $"{name} is {value}, expected at least {least}.");
        void Between(string name, long value, long least, long most, string remedy = "") => Check(value >= least && value <= most, value < least ? $"{name} is {value}, expected at least {least}." : $"{name} is {value}, expected at most {most:N0}.{remedy}");
        void Range(string name, double value, double least, double most) => Check(value >= least && value <= most, $"{name} is {value}, expected a number from {least} to {most}.");
        void NoneOr(string name, double value, double least, double most) => Check(value == 0 || value >= least && value <= most, $"{name} is {value}, expected 0 or a number from {least} to {most}.");
        void NotNegative(string name, double value) => Check(value >= 0 && double.IsFinite(value), $"{name} is {value}, expected a finite number of at least 0.");
        void Fraction(string name, double value) => Check(value is >= 0 and < 1, $"{name} is {value}, expected a fraction from 0 to below 1.");
        void Decay(string name, double value) => Check(value is >= 0 and <= LargestDecay, $"{name} is {value}, expected a fraction from 0 to {LargestDecay}.");

        // Of a network that is known to be one.
        void CheckStart(StartingModel start)
        {
            var (least, most) = SizeOfModel();
            Check(ContentHash.TryParse(start.ModelId, out _), $"Id of the model to start from is \"{VisibleText.Shortened(start.ModelId)}\", expected {ContentHash.Expectation}.");
            Check(start.SizeBytes >= least && start.SizeBytes <= most, $"The model to start from has {start.SizeBytes:N0} bytes, expected {least:N0} to {most:N0} for the layers of the job.");
        }

        void CheckWeights(PretrainedWeights weights)
        {
            Check(module is null or IPretrainedKind or TorchKind, "Starting weights are set beside a module that takes none, expected a kind whose parameters have names of their own.");
            Check(spec.StartFrom is null, "Starting weights are set beside StartFrom, expected one of the two.");
            Check(ContentHash.TryParse(weights.FileId, out _), $"Id of the starting weights is \"{VisibleText.Shortened(weights.FileId)}\", expected {ContentHash.Expectation}.");
            Between("Bytes of the starting weights", weights.SizeBytes, 1, TensorFile.MaxBytes);
        }

        (long Least, long Most) SizeOfModel()
        {
            try
            {
                return OnnxMlpSize.Of(spec);
            }
            catch (FormatException e)
            {
                errors.Add(e.Message);
                return default;
            }
        }

        void CheckLoss(LossSpec? loss)
        {
            if (loss is null)
                return;
            Check(loss.LossCase != LossSpec.LossOneofCase.None, "Loss is not set, expected focal, Huber's, a quantile's or LambdaRank's, or the task's own.");
            var (isTasks, expected) = spec.Task switch
            {
                MlTask.Own => (false, "none, but the module's own"),
                MlTask.Regression => (loss is { Focal: null, LambdaRank: null }, "squared, Huber's or a quantile's"),
                MlTask.Ranking => (loss is { Focal: null, Huber: null, Quantile: null }, "LambdaRank's"),
                _ => (loss is { Huber: null, Quantile: null, LambdaRank: null }, "cross-entropy or focal"),
            };
            Check(isTasks, $"Loss is {loss.LossCase} in {spec.Task.ToString().ToLowerInvariant()} training, expected {expected}.");
            if (loss.Focal is { } focal)
            {
                Range("FocalGamma", focal.Gamma, Smallest, LargestFocalGamma);
                Check(spec.LabelSmoothing == 0, $"LabelSmoothing is {spec.LabelSmoothing} beside FocalGamma {focal.Gamma}, expected one of the two: a smoothed label has no one right class.");
            }

            if (loss.Huber is { } huber)
                Range("Delta of Huber's loss", huber.Delta, Smallest, Largest);
            if (loss.LambdaRank is { } ranks)
                Between("TruncationLevel", ranks.TruncationLevel, 0, RankingLabel.MaxRowsOfGroup, " 0 is all pairs.");
            if (loss.Quantile is { } quantile)
                Check(quantile.Level is >= LeastQuantile and <= 1 - LeastQuantile, $"Level of the quantile's loss is {quantile.Level}, expected a number from {LeastQuantile} to {1 - LeastQuantile}.");
        }

        void CheckModule()
        {
            Check(module is not null, "Module is not set, expected a multi-layer perceptron.");
            if (module is null)
                return;
            Between("Input size", module.InputSize, 1, DatasetSchema.MaxFeatures, " Take fewer features: fewer bits of a hash, a feature selection.");
            AtLeast("Output size", module.OutputSize, spec.Task switch { MlTask.Multiclass or MlTask.Tagging => 2, MlTask.Own => 0, _ => 1 });
            Check(spec.Task != MlTask.Tagging || module is TextEncoderKind, $"Task is tagging with a network of kind {spec.Module?.ModuleCase}, expected an encoder of texts.");
            Check(spec.Task != MlTask.Own || module is TorchKind, $"Task is own with a network of kind {spec.Module?.ModuleCase}, expected a module of your own.");
            errors.AddRange(module.Errors(spec.Task));
            Check(module is not TextEncoderKind || spec.Data?.Features is null, "NormalizeFeatures is on beside a module of token ids, expected false: scaled, they are others.");
        }

        void CheckData(DataSpec? data)
        {
            Check(ContentHash.TryParse(data?.DatasetId, out _), $"Dataset id is \"{VisibleText.Shortened(data?.DatasetId ?? "")}\", expected {ContentHash.Expectation}.");
            if (data is null)
                return;
            Check(data.ValidationDatasetId.Length == 0 || ContentHash.TryParse(data.ValidationDatasetId, out _), $"Validation dataset id is \"{VisibleText.Shortened(data.ValidationDatasetId)}\", expected {ContentHash.Expectation}, or none.");
            AtLeast("Row count", data.RowCount, 1);
            Check(data.Features is null || spec.Module?.Image is null, "Feature scaling is set beside an image network, expected none: it has the mean and scale of its channels.");
            Check(data.Features is null || module?.InputSize <= MaxScaledFeatures, $"Features have {module?.InputSize:N0} slots, expected at most {MaxScaledFeatures:N0} with NormalizeFeatures: their means and scales are sent with the job. Set NormalizeFeatures to false, or take fewer features (fewer bits of a hash, a feature selection).");
            var isSparse = spec.Module?.Mlp?.Sparse is not null;
            Check(data.Features is null || module?.InputSize > MaxScaledFeatures || data.Features.Mean.Count == (isSparse ? 0 : module?.InputSize) && data.Features.Scale.Count == module?.InputSize,
                $"Feature scaling has {data.Features?.Mean.Count} means and {data.Features?.Scale.Count} scales, expected {(isSparse ? $"no means, as features are sparse, and {module?.InputSize} scales" : $"{module?.InputSize}")}, one a feature.");
            Check(data.Features is not null || spec.Module?.Mlp?.Steps is null, "Features have steps and no scaling, expected both: a missing feature is at the mean.");
            NotNegative("Weight scale", data.WeightScale);
            NotNegative("Validation weight scale", data.ValidationWeightScale);
            Check(data.ValidationFraction == 0 || data.ValidationDatasetId.Length == 0, "ValidationFraction is set beside a validation set, expected one of the two.");
        }

        void CheckResources(ResourceSpec resources)
        {
            var isOne = resources.Placement == Placement.OneWorker;
            Between("MinRanks", resources.MinRanks, 0, MaxRanks);
            Between("MaxRanks", resources.MaxRanks, 0, MaxRanks, isOne ? " 0 is as many as one worker offers." : " 0 is all that can meet.");
            Check(resources.MaxRanks == 0 || resources.MinRanks <= resources.MaxRanks, $"MinRanks is {resources.MinRanks}, expected at most MaxRanks, {resources.MaxRanks}.");
            Between("MinRanksPerWorker", resources.MinRanksPerWorker, 0, MaxRanks);
            Between("MaxRanksPerWorker", resources.MaxRanksPerWorker, 0, MaxRanks, " 0 is as many as a worker offers.");
            Check(resources.MaxRanksPerWorker == 0 || resources.MinRanksPerWorker <= resources.MaxRanksPerWorker, $"MinRanksPerWorker is {resources.MinRanksPerWorker}, expected at most MaxRanksPerWorker, {resources.MaxRanksPerWorker}.");
            Check(resources.MaxRanks == 0 || resources.MinRanksPerWorker <= resources.MaxRanks, $"MinRanksPerWorker is {resources.MinRanksPerWorker}, expected at most MaxRanks, {resources.MaxRanks}.");
            Check(!isOne || resources is { MinRanksPerWorker: <= 1, MaxRanksPerWorker: 0 }, $"MinRanksPerWorker is {resources.MinRanksPerWorker} and MaxRanksPerWorker {resources.MaxRanksPerWorker} beside Placement OneWorker, expected 1 and 0: they are for Pack and Spread. On one worker MinRanks and MaxRanks say it all.");
        }

        void CheckCheckpoint(CheckpointSpec? checkpoint)
        {
            if (checkpoint is null)
                return;
            // What is less than 0 counts as 0.
            Check(checkpoint.IntervalSeconds <= MaxSeconds, $"CheckpointInterval is {checkpoint.IntervalSeconds} s, expected 0 (at the end of epochs only) to {MaxSeconds:N0} s.");
            Check(checkpoint.MinIntervalSeconds <= MaxSeconds, $"The least time between checkpoints is {checkpoint.MinIntervalSeconds} s, expected 0 to {MaxSeconds:N0} s.");
            Check(checkpoint.KeepLast <= MaxAttempts, $"CheckpointsKept is {checkpoint.KeepLast}, expected at most {MaxAttempts:N0}.");
        }

        void CheckOptimizer(OptimizerSpec? optimizer)
        {
            Check(optimizer is not null && optimizer.OptimizerCase != OptimizerSpec.OptimizerOneofCase.None, "Optimizer is not set, expected SGD, AdamW or Adam.");
            if (optimizer is null)
                return;
            Range("LearningRate", optimizer.LearningRate, LeastLearningRate, Largest);
            NoneOr("WeightDecay", optimizer.WeightDecay, Smallest, Largest);
            Decay("WeightAveraging.Decay", optimizer.AveragingDecay);
            Check(optimizer.AveragingDecay == 0 || spec.Module?.Kind?.JoinsRows != true, $"WeightAveraging is on beside {(module is MlpKind ? "Normalization Batch, expected None or Layer" : "the network's batch normalisation, expected null")}: its running statistics are those of the weights that are not averaged.");
            if (optimizer.Sgd is { } sgd)
                Decay("Momentum", sgd.Momentum);
            if (optimizer.Adamw is { } decoupled)
                CheckMoments(decoupled.Beta1, decoupled.Beta2, decoupled.Epsilon);
            if (optimizer.Adam is { } adam)
                CheckMoments(adam.Beta1, adam.Beta2, adam.Epsilon);
        }

        void CheckMoments(double beta1, double beta2, double epsilon)
        {
            Decay("Beta1", beta1);
            Decay("Beta2", beta2);
            Range("Epsilon", epsilon, Smallest, Largest);
        }
    }
}
