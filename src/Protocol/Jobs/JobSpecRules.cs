namespace MLDistributed.Protocol;

/// <summary>What a job's specification must satisfy, checked by the client before data is sent and by the coordinator again.</summary>
public static class JobSpecRules
{
    /// <summary>The most parts of a global batch in bit-exact training.</summary>
    public const int MaxMicroBatches = 32;

    /// <summary>The most characters of a job's name.</summary>
    public const int MaxNameLength = 200;

    /// <summary>The most parameters of a module: an ONNX file, as every protobuf message, holds 2 GiB.</summary>
    public const long MaxParameters = 500_000_000;

    /// <summary>A longer wait for workers is one without an end.</summary>
    public const double MaxQueueSeconds = 1e9;

    /// <summary>All that is wrong, each a sentence that names the option, its value and what was expected; empty when valid.</summary>
    public static IReadOnlyList<string> Validate(JobSpec spec)
    {
        var errors = new List<string>();
        var classCount = spec.Task switch { MlTask.Multiclass => spec.Module?.Mlp?.OutputSize ?? 0, MlTask.Binary => 2, _ => 0 };
        Check(spec.Name.Length <= MaxNameLength, $"JobName has {spec.Name.Length:N0} characters (\"{spec.Name[..Math.Min(spec.Name.Length, 20)]}...\"), expected at most {MaxNameLength}.");
        Check(!spec.Name.Any(char.IsControl), $"JobName has the control character U+{(int)spec.Name.FirstOrDefault(char.IsControl):X4} at {spec.Name.TakeWhile(c => !char.IsControl(c)).Count()}, expected text on one line.");
        AtLeast("Epochs", spec.Epochs, 1);
        AtLeast("BatchSize", spec.GlobalBatchSize, 1);
        AtLeast("MaxMicroBatchSize", spec.MaxMicroBatchSize, 0);
        AtLeast("MaxAttempts", spec.MaxAttempts, 1);
        NotNegative("GradientClipNorm", spec.GradientClipNorm);
        Check(spec.QueueTimeoutSeconds is >= 0 and <= MaxQueueSeconds, $"QueueTimeout is {spec.QueueTimeoutSeconds} s, expected 0 (for ever) to {MaxQueueSeconds:N0} s.");
        Fraction("LabelSmoothing", spec.LabelSmoothing);
        Fraction("ValidationFraction", spec.Data?.ValidationFraction ?? 0);
        Check(spec.Task != MlTask.Unspecified, "Task is not set, expected multiclass, binary or regression.");
        Check(spec.Task == MlTask.Multiclass || spec.LabelSmoothing == 0, $"LabelSmoothing is {spec.LabelSmoothing}, expected 0: it is for multiclass training only.");
        CheckModule(spec.Module?.Mlp);
        CheckData(spec.Data, spec.Module?.Mlp);
        CheckOptimizer(spec.Optimizer);
        Fraction("WarmupFraction", spec.Schedule?.WarmupFraction ?? 0);
        Check(spec.Schedule is null || spec.Schedule.FinalFraction is >= 0 and <= 1, $"FinalFraction is {spec.Schedule?.FinalFraction}, expected 0 to 1.");
        Check(spec.Resources is null || spec.Resources.MinRanks >= 0 && spec.Resources.MaxRanks >= 0, $"Ranks are {spec.Resources?.MinRanks} to {spec.Resources?.MaxRanks}, expected no negative number.");
        Check(spec.Resources is null || spec.Resources.MaxRanks == 0 || spec.Resources.MinRanks <= spec.Resources.MaxRanks, $"MinRanks is {spec.Resources?.MinRanks}, expected at most MaxRanks, {spec.Resources?.MaxRanks}.");
        Check(spec.ClassWeights.Count == 0 || spec.ClassWeights.Count == classCount, $"ClassWeights has {spec.ClassWeights.Count} numbers, expected {(classCount > 0 ? $"one for each of the {classCount} classes" : "none in regression")}.");
        Check(spec.ClassWeights.All(w => w >= 0 && float.IsFinite(w)) && (spec.ClassWeights.Count == 0 || spec.ClassWeights.Any(w => w > 0)), "ClassWeights has a negative or infinite number, or zeros alone, expected finite numbers of at least 0.");
        Check(spec.MaxMicroBatchSize == 0 || spec.Module?.Mlp?.Normalization != LayerNormalization.Batch, $"MaxMicroBatchSize is {spec.MaxMicroBatchSize} beside Normalization Batch, expected 0: the statistics are those of a whole batch. Use Layer normalization.");
        if (spec.BitExact is { } exact)
        {
            Check(spec.MaxMicroBatchSize == 0, $"MaxMicroBatchSize is {spec.MaxMicroBatchSize} beside Reproducibility.BitExact, expected 0: it has micro-batches of its own.");
            Check(exact.MicroBatches is >= 1 and <= MaxMicroBatches, $"MicroBatches is {exact.MicroBatches}, expected 1 to {MaxMicroBatches}.");
            Check(spec.Module?.Mlp?.Normalization != LayerNormalization.Batch, "Normalization is Batch beside Reproducibility.BitExact, expected None or Layer: the statistics of a batch would join its parts in each layer.");
            Check(spec.Resources?.Device != DeviceKind.Cuda, "Device is Cuda beside Reproducibility.BitExact, expected Cpu: the order of a GPU's sums is not ours.");
        }

        if (spec.EarlyStopping is { } stopping)
        {
            AtLeast("EarlyStopping.Patience", stopping.PatienceEpochs, 1);
            NotNegative("EarlyStopping.MinImprovement", stopping.MinImprovement);
            Check(spec.Data is { } d && (d.ValidationFraction > 0 || d.ValidationDatasetId.Length > 0), "EarlyStopping is on without validation data, expected a validation set or a ValidationFraction above 0.");
        }

        return errors;

        void Check(bool holds, string error)
        {
            if (!holds)
                errors.Add(error);
        }

        void AtLeast(string name, long value, long least) => Check(value >= least, $"{name} is {value}, expected at least {least}.");
        void NotNegative(string name, double value) => Check(value >= 0 && double.IsFinite(value), $"{name} is {value}, expected a finite number of at least 0.");
        void Fraction(string name, double value) => Check(value is >= 0 and < 1, $"{name} is {value}, expected a fraction from 0 to below 1.");

        void CheckModule(MlpSpec? mlp)
        {
            Check(mlp is not null, "Module is not set, expected a multi-layer perceptron.");
            if (mlp is null)
                return;
            AtLeast("Input size", mlp.InputSize, 1);
            AtLeast("Output size", mlp.OutputSize, spec.Task == MlTask.Multiclass ? 2 : 1);
            Check(mlp.HiddenSizes.All(h => h >= 1), $"HiddenLayers is [{string.Join(", ", mlp.HiddenSizes)}], expected sizes of at least 1.");
            var parameters = Parameters(mlp);
            Check(parameters <= MaxParameters, $"HiddenLayers is [{string.Join(", ", mlp.HiddenSizes)}], which makes {parameters:N0} parameters ({(double)parameters * sizeof(float) / (1 << 30):N1} GiB) with {mlp.InputSize:N0} features, expected at most {MaxParameters:N0}: an ONNX file holds 2 GiB.");
            Fraction("Dropout", mlp.Dropout);
        }

        // Weights and biases; the sum of products of int's stays within 128 bits.
        static Int128 Parameters(MlpSpec mlp)
        {
            var (sum, inputs) = (Int128.Zero, (Int128)mlp.InputSize);
            foreach (var size in mlp.HiddenSizes.Append(mlp.OutputSize))
                (sum, inputs) = (sum + (inputs + 1) * size, size);
            return sum;
        }

        void CheckData(DataSpec? data, MlpSpec? mlp)
        {
            Check(data is { DatasetId.Length: 64 }, $"Dataset id is \"{data?.DatasetId}\", expected 64 hexadecimal digits.");
            if (data is null)
                return;
            AtLeast("Row count", data.RowCount, 1);
            Check(data.Features is null || data.Features.Mean.Count == mlp?.InputSize && data.Features.Scale.Count == mlp?.InputSize,
                $"Feature scaling has {data.Features?.Mean.Count} means and {data.Features?.Scale.Count} scales, expected {mlp?.InputSize}, one a feature.");
            NotNegative("Weight scale", data.WeightScale);
            NotNegative("Validation weight scale", data.ValidationWeightScale);
            Check(data.ValidationFraction == 0 || data.ValidationDatasetId.Length == 0, "ValidationFraction is set beside a validation set, expected one of the two.");
        }

        void CheckOptimizer(OptimizerSpec? optimizer)
        {
            Check(optimizer is not null && optimizer.OptimizerCase != OptimizerSpec.OptimizerOneofCase.None, "Optimizer is not set, expected SGD, AdamW or Adam.");
            if (optimizer is null)
                return;
            Check(optimizer.LearningRate > 0 && double.IsFinite(optimizer.LearningRate), $"LearningRate is {optimizer.LearningRate}, expected a finite number above 0.");
            NotNegative("WeightDecay", optimizer.WeightDecay);
            if (optimizer.Sgd is { } sgd)
                Fraction("Momentum", sgd.Momentum);
            if (optimizer.Adamw is { } decoupled)
                CheckMoments(decoupled.Beta1, decoupled.Beta2, decoupled.Epsilon);
            if (optimizer.Adam is { } adam)
                CheckMoments(adam.Beta1, adam.Beta2, adam.Epsilon);
        }

        void CheckMoments(double beta1, double beta2, double epsilon)
        {
            Fraction("Beta1", beta1);
            Fraction("Beta2", beta2);
            Check(epsilon > 0, $"Epsilon is {epsilon}, expected a number above 0.");
        }
    }
}
