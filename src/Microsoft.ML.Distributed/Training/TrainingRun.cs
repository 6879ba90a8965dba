using Google.Protobuf;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>One Fit after its options were found valid: encode, train, fetch.</summary>
internal sealed class TrainingRun(ITrainingBackend backend, TrainingColumns columns, NeuralNetworkOptions options, NetworkModule module, JobSpec spec, StartingNetwork? start, IChannel channel, string? folder, CancellationToken cancellation)
{
    private const int MaxRuns = 3;
    private readonly JobFile? _frame;
    private readonly bool _isFrameTooLarge;

    /// <summary>What is to stand around the network, which the job keeps; null: nothing.</summary>
    public ModelFrame? Frame
    {
        init
        {
            if (value is null)
                return;
            (_frame, _isFrameTooLarge) = value.ToFile() is { } file ? (file, false) : (null, true);
            // One without the other would make another transformer than the trainer's.
            if (_isFrameTooLarge)
                spec.ModelSchema = ByteString.Empty;
            else if (value.NeedsSchema && spec.ModelSchema.IsEmpty)
                _frame = null;
            spec.ModelFrame = _frame is null ? null : new() { FileId = _frame.Id.Text, SizeBytes = _frame.Content.Length };
        }
    }

    public TrainedNetwork Execute(IDataView data)
    {
        for (var run = 1; ; run++)
        {
            try
            {
                return Encode(data, (inputs, progress) =>
                {
                    var job = backend.Train(spec, inputs, progress, Log, cancellation);
                    channel.Info(MessageSensitivity.None, $"Job {job.JobId} trained {TrainingSummary.From(job.Result)}.");
                    return TrainedNetwork.Accept(job.Onnx, ModelSchema.Without(spec), job.Result, job.JobId);
                });
            }
            catch (TrainingFailedException e) when (e.IsDatasetLost && run < MaxRuns)
            {
                channel.Warning(MessageSensitivity.None, $"The cluster lost the data of job {e.JobId}, which is sent again for another one: {e.Message}");
            }
        }
    }

    /// <summary>Encodes and sends the data, and returns the job's id.</summary>
    public string Submit(IDataView data)
    {
        spec.DisconnectPolicy = DisconnectPolicy.Finish;
        if (_isFrameTooLarge)
            throw new InvalidOperationException($"What stands around the network, as its vocabulary, takes more than {JobSpecRules.MaxModelFrameBytes:N0} bytes, expected fewer for a job that is attached to later. Use Fit, or a smaller vocabulary.");
        if (spec.ModelSchema.IsEmpty && _frame is null)
            throw new InvalidOperationException($"The names of the classes of label column \"{columns.Label}\" take more than {JobSpecRules.MaxModelSchemaBytes:N0} bytes, expected fewer for a job that is attached to later. Use Fit, or map shorter keys.");
        return Encode(data, (inputs, progress) => backend.Submit(spec, inputs, progress, Log, cancellation));
    }

    /// <summary>Trains with a learning rate that rises, until there is no more to see.</summary>
    /// <param name="data">The training data.</param>
    /// <param name="from">The rate of the first step.</param>
    /// <param name="to">That of the last.</param>
    /// <param name="steps">How many steps, at least.</param>
    public LearningRateCurve FindLearningRate(IDataView data, double from, double to, int steps)
    {
        LearningRateTest? test = null;
        try
        {
            Encode(data, (inputs, progress) =>
            {
                test = new LearningRateTest(from, to, steps, progress);
                test.Shape(spec);
                using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellation, test.End);
                return backend.Train(spec, inputs with { Validation = null }, test, Log, either.Token);
            });
        }
        catch (Exception e) when (test is not null && !cancellation.IsCancellationRequested && (e is OperationCanceledException && test.End.IsCancellationRequested || e is TrainingFailedException { IsTrainings: true }))
        {
            // Far too much is what the last rates are to be.
        }
        finally
        {
            test?.Dispose();
        }

        return test!.Curve;
    }

    /// <summary>Says a line of a job's log in ML.NET's own.</summary>
    public static void Log(IChannel channel, LogLine line)
    {
        var message = VisibleText.Hanging($"{line.Source}: {line.Message}", "  | ");
        switch (line.Level)
        {
            case LogLevel.Trace:
                channel.Trace(MessageSensitivity.None, message);
                break;
            case LogLevel.Warning:
                channel.Warning(MessageSensitivity.None, message);
                break;
            case LogLevel.Error:
                channel.Error(MessageSensitivity.None, message);
                break;
            default:
                channel.Info(MessageSensitivity.None, message);
                break;
        }
    }

    private T Encode<T>(IDataView data, Func<JobInputs, IProgress<TrainingProgress>?, T> use)
    {
        try
        {
            return EncodeUnlessItEnds(data, use);
        }
        catch (Exception) when (ProcessEnd.HasBegun)
        {
            ProcessEnd.StayAsync().GetAwaiter().GetResult();
            throw;
        }
    }

    private T EncodeUnlessItEnds<T>(IDataView data, Func<JobInputs, IProgress<TrainingProgress>?, T> use)
    {
        string? validationPath = null;
        var progress = options.Progress ?? ConsoleProgress.IfInteractive();
        var trainingPath = backend.NewDatasetFile(folder, cancellation);
        if (start?.IsBehindOthers(data, columns.Features) == true)
            channel.Warning(MessageSensitivity.None, $"Feature column \"{columns.Features}\" is made by other transforms than in the chain of StartFrom, or by the same fitted to other data, so that its slots may mean something else than its network has learnt. Keep the fitted transformers, and fit the trainer alone on what they put out.");
        if (start?.UnknownKeys(spec, data.Schema[columns.Features]) is { Count: > 0 } keys)
            channel.Warning(MessageSensitivity.None, $"The values of {string.Join(", ", keys.Select(key => $"key \"{key}\""))} are not known of the data of StartFrom, so that its network may have learnt other categories by the same numbers. Map the keys by the transformer that was fitted then.");
        try
        {
            var encoder = new DatasetEncoder(columns, spec.Module.Kind!.InputSize, spec.Module.Kind.OutputSize, channel, TimeProvider.System, progress, spec.ClassWeights, spec.Module.Kind.Element);
            var training = encoder.Encode(data, trainingPath, isTraining: true, cancellation, module.FormOf(options, start));
            var form = training.Dataset.Shape.IsSparse ? FeatureEncoding.Sparse : FeatureEncoding.Dense;
            var validation = options.ValidationSet is { } set
                ? encoder.Encode(set, validationPath = backend.NewDatasetFile(folder, cancellation), isTraining: false, cancellation, form)
                : null;
            Describe(training, validation, data.Schema[columns.Features]);
            // What was judged before was the form that asks for less.
            if (spec.Module.Kind.Errors(spec.Task).ToList() is { Count: > 0 } errors)
                throw new InvalidDataException($"{errors[0]} Feature column \"{columns.Features}\" is dense: set FeatureEncoding to Sparse if few of its values are not zero.");
            var files = new List<JobFile>();
            if (start is not null)
                files.Add(start.Attach(spec, data.Schema[columns.Label]));
            if (_frame is not null)
                files.Add(_frame);
            if (module.Code is { } code)
                files.Add(code);
            if (module.Weights is { } weights)
            {
                files.Add(weights);
                spec.StartingWeights = weights.AsWeights();
            }

            if (spec.Data.ValidationFraction > 0 && (training.Groups?.Count ?? training.Dataset.RowCount) < 2)
                throw new InvalidDataException($"Training data has 1 {(training.Groups is null ? "row" : "group")} that counts, expected at least 2 with ValidationFraction {spec.Data.ValidationFraction}: one to train on and one to validate on. Add some, or set ValidationFraction to 0 and EarlyStopping to null.");
            return use(new JobInputs(training.Dataset, validation?.Dataset) { Files = files }, progress);
        }
        finally
        {
            (progress as ConsoleProgress)?.End();
            // A local cluster has moved them into its store; then there is nothing to delete.
            File.Delete(trainingPath);
            if (validationPath is not null)
                File.Delete(validationPath);
        }
    }

    private void Describe(EncodingResult training, EncodingResult? validation, DataViewSchema.Column features)
    {
        if (training.Dataset.Shape.IsSparse)
            module.MakeSparse(spec, options, (double)training.Dataset.NonZeroCount / training.Dataset.RowCount);
        spec.Data.DatasetId = training.Dataset.Id.Text;
        spec.Data.RowCount = training.Dataset.RowCount;
        spec.Data.WeightScale = training.Weights.ToScale();
        spec.Data.ValidationDatasetId = validation?.Dataset.Id.Text ?? "";
        spec.Data.ValidationRowCount = validation?.Dataset.RowCount ?? 0;
        spec.Data.ValidationWeightScale = validation?.Weights.ToScale() ?? 0;
        if (start is null)
            Scale(training, features);
        else
        {
            WarnOfIgnored(start.Ignored(training.Features).ToList(), features);
            WarnOfMoved(start, training.Features, features);
        }

        if (training.Labels.IsConstant)
            channel.Warning(MessageSensitivity.None, $"Label column \"{columns.Label}\" is {training.Labels.Mean:G6} in all rows: so will the predictions be.");
        AutomaticOptions.Complete(spec, options, training.Groups?.Count, Noise(training.Features));
    }

    // Found out where it decides something.
    private double? Noise(IFeatureStatistics features)
    {
        if (start is not null || features?.Levels is not { } levels || spec.Module.Mlp is not { HiddenSizes.Count: > 0 } mlp || columns.Task == MlTask.Ranking || spec.Data.RowCount < AutomaticOptions.RowsToEncodeLevels || options is { BatchSize: not null, WeightDecay: not null })
            return null;
        var noise = LabelNoise.Of(levels.Sample, features, mlp.InputSize, mlp.Categories.Count, columns.Task != MlTask.Regression);
        if (noise is { } known)
            channel.Trace(MessageSensitivity.None, $"Labels differ between a row and the one that is nearest to it by {known:G2} of what they differ between any two{(AutomaticOptions.IsClean(known, spec.Data.RowCount) ? ": they have little noise, so that more steps are worth it" : "")}.");
        return noise;
    }

    private void Scale(EncodingResult training, DataViewSchema.Column features)
    {
        if (options.NormalizeFeatures)
        {
            WarnOfRanges(training.Features, features);
            spec.Data.Features = training.Features.ToScaling();
            module.Describe(spec, options, training.Features);
        }

        if (columns.Task == MlTask.Regression)
            spec.Data.Label = training.Labels.ToScaling();
        else if (columns.Task != MlTask.Ranking)
            module.Describe(spec.Module, training.Labels);
    }

    private void WarnOfIgnored(List<int> slots, DataViewSchema.Column features)
    {
        if (slots.Count > 0)
            channel.Warning(MessageSensitivity.None, $"Feature column \"{features.Name}\" was constant in slot {DatasetEncoder.SlotName(features, slots[0])}{(slots.Count > 1 ? $" and {slots.Count - 1:N0} others" : "")} where the network of StartFrom was trained, which ignores it, and varies now: so will the new one. Train anew to have it count.");
    }

    private void WarnOfMoved(StartingNetwork network, IFeatureStatistics statistics, DataViewSchema.Column features)
    {
        var slots = network.Moved(statistics).ToList();
        if (slots.Count == 0)
            return;
        var (mean, deviation) = network.Trained(slots[0]);
        channel.Warning(MessageSensitivity.None, $"Feature column \"{features.Name}\" has mean {statistics.Mean(slots[0]):G3} and deviation {statistics.Deviation(slots[0]):G3} in slot {DatasetEncoder.SlotName(features, slots[0])}{(slots.Count > 1 ? $" and is as far away in {slots.Count - 1:N0} others" : "")}; where the network of StartFrom was trained they were {mean:G3} and {deviation:G3}, which its scaling keeps. Where what makes the features was fitted anew or their unit is another, keep the fitted transformers; where the world has changed so much, train anew.");
    }

    private void WarnOfRanges(IFeatureStatistics statistics, DataViewSchema.Column features)
    {
        var slots = statistics.OutOfRange().Except(spec.Module.UnscaledSlots()).ToList();
        if (slots.Count > 0)
            channel.Warning(MessageSensitivity.None, $"Feature column \"{features.Name}\" has a standard deviation of {statistics.Deviation(slots[0]):G3} in slot {DatasetEncoder.SlotName(features, slots[0])}{(slots.Count > 1 ? $" and the like in {slots.Count - 1:N0} others" : "")}, out of the range {ScaleRange.Least:G1} to {ScaleRange.Most:G1} that single precision can compute with: it counts as a constant. Multiply it by one.");
    }

    private void Log(LogLine line) => Log(channel, line);
}
