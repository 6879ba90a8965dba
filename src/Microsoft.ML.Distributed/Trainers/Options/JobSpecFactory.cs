using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Turns a trainer's options into the specification of a job.</summary>
internal static class JobSpecFactory
{
    // More parts share out over more ranks and cost more passes over the gradients: 8 leave a batch of 32 four rows each.
    private const int MicroBatches = 8;

    // To train so much again costs less than checkpoints after epochs of a tenth of a second.
    private const double CheckpointMinSeconds = 2;

    /// <summary>Everything that is known before data is read; the dataset's id and statistics come later.</summary>
    public static JobSpec Create(NeuralNetworkOptions options, NetworkModule module, MlTask task, int featureCount, int outputCount, ulong seed, string name)
    {
        var optimizer = options.Optimizer?.ToSpec();
        if (optimizer is not null)
            (optimizer.LearningRate, optimizer.WeightDecay, optimizer.AveragingDecay) = (options.LearningRate, options.WeightDecay ?? 0, options.WeightAveraging?.Decay ?? 0);
        var spec = new JobSpec
        {
            Name = options.JobName ?? DefaultName(options, name),
            Task = task,
            Module = module.ToSpec(options, featureCount, outputCount),
            Data = new DataSpec { ValidationFraction = options.ValidationFraction ?? 0 },
            Optimizer = optimizer,
            Schedule = options.Schedule?.ToSpec(),
            Epochs = options.Epochs,
            GlobalBatchSize = options.BatchSize ?? AutomaticOptions.SmallestBatch,
            MaxMicroBatchSize = options.MaxMicroBatchSize,
            Seed = seed,
            GradientClipNorm = options.GradientClipNorm,
            Precision = (Precision)options.Precision,
            GradientCompression = (Compression)options.GradientCompression,
            EarlyStopping = options.EarlyStopping?.ToSpec(),
            Resources = new ResourceSpec
            {
                Device = (DeviceKind)options.Device,
                MinRanks = options.MinRanks,
                MaxRanks = options.MaxRanks,
                Placement = (Placement)options.Placement,
                MinRanksPerWorker = options.MinRanksPerWorker,
                MaxRanksPerWorker = options.MaxRanksPerWorker,
                MixedDevices = options.MixedDevices,
            },
            Priority = options.Priority,
            MaxAttempts = options.MaxAttempts,
            QueueTimeoutSeconds = options.QueueTimeout == Timeout.InfiniteTimeSpan || options.QueueTimeout.TotalSeconds > JobSpecRules.MaxSeconds ? 0 : options.QueueTimeout.TotalSeconds,
            DisconnectPolicy = (DisconnectPolicy)options.OnDisconnect,
            Checkpoint = new CheckpointSpec
            {
                IntervalEpochs = options.CheckpointIntervalEpochs,
                IntervalSeconds = options.CheckpointInterval.TotalSeconds > JobSpecRules.MaxSeconds ? 0 : options.CheckpointInterval.TotalSeconds,
                KeepLast = options.CheckpointsKept,
                MinIntervalSeconds = CheckpointMinSeconds,
            },
        };
        if (options.Reproducibility == Reproducibility.BitExact)
        {
            spec.BitExact = new BitExactSpec { MicroBatches = MicroBatches };
            if (spec.Resources.Device == DeviceKind.Any)
                spec.Resources.Device = DeviceKind.Cpu;
        }

        options.Complete(spec);
        return spec;
    }

    // Names of columns may be of any length, and on more than one line.
    private static string DefaultName(NeuralNetworkOptions options, string trainer)
    {
        var name = $"{trainer}: {options.LabelColumnName} from {options.FeatureColumnName}";
        return new string([.. name.Take(JobSpecRules.MaxNameLength).Select(c => char.IsControl(c) || char.IsSurrogate(c) ? '_' : c)]);
    }

    /// <summary>All that is wrong with the options, as far as that can be told without data.</summary>
    public static IEnumerable<string> Validate(NeuralNetworkOptions options, NetworkModule module, JobSpec spec)
    {
        // Stand-ins for what the encoder will find.
        var complete = spec.Clone();
        complete.Data.DatasetId = new string('0', 64);
        complete.Data.RowCount = 1;
        if (options.NormalizeFeatures && complete.Module.Kind!.InputSize > JobSpecRules.MaxScaledFeatures)
            complete.Data.Features = new FeatureScaling();
        if (options.ValidationSet is not null)
            complete.Data.ValidationDatasetId = complete.Data.DatasetId;
        else if (options is { ValidationFraction: null, EarlyStopping: not null })
            complete.Data.ValidationFraction = AutomaticOptions.LargestValidationFraction;

        var errors = new List<string>(JobSpecRules.Validate(complete));
        Check(options.JobName is null || !string.IsNullOrWhiteSpace(options.JobName), "JobName is blank, expected a name, or null for the trainer's and its columns'.");
        errors.AddRange(module.Errors(options));
        Check(options.WeightAveraging is not { Decay: 0 }, "WeightAveraging.Decay is 0, expected more, or WeightAveraging null for the weights themselves.");
        Check(options.Schedule is not null, "Schedule is null, expected LearningRateSchedule.Constant or LearningRateSchedule.Cosine.");
        Check(options.CheckpointIntervalEpochs >= 0, $"CheckpointIntervalEpochs is {options.CheckpointIntervalEpochs}, expected 0 (never) or more.");
        Check(options.CheckpointInterval >= TimeSpan.Zero, $"CheckpointInterval is {options.CheckpointInterval}, expected zero (at the end of epochs only) or more.");
        Check(options.CheckpointsKept >= 1, $"CheckpointsKept is {options.CheckpointsKept}, expected at least 1. For none at all set CheckpointIntervalEpochs to 0.");
        Check(options.QueueTimeout > TimeSpan.Zero || options.QueueTimeout == Timeout.InfiniteTimeSpan, $"QueueTimeout is {options.QueueTimeout}, expected more than zero, or Timeout.InfiniteTimeSpan to wait for ever.");
        Defined("Activation", options.Activation);
        Defined("FeatureEncoding", options.FeatureEncoding);
        Defined("Normalization", options.Normalization);
        Defined("Device", options.Device);
        Defined("Precision", options.Precision);
        Defined("GradientCompression", options.GradientCompression);
        Defined("Placement", options.Placement);
        Defined("Reproducibility", options.Reproducibility);
        Defined("OnDisconnect", options.OnDisconnect);
        return errors;

        void Check(bool holds, string error)
        {
            if (!holds)
                errors.Add(error);
        }

        void Defined<T>(string name, T value)
            where T : struct, Enum =>
            Check(Enum.IsDefined(value), $"{name} is {value:D}, expected one of {string.Join(", ", Enum.GetNames<T>())}.");
    }
}
