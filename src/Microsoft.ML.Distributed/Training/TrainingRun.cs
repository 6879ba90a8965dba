using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>One Fit after its options were found valid: encode, train, fetch.</summary>
internal sealed class TrainingRun(ITrainingBackend backend, TrainingColumns columns, NeuralNetworkOptions options, JobSpec spec, IChannel channel)
{
    public TrainedNetwork Execute(IDataView data)
    {
        try
        {
            return Train(data);
        }
        catch (Exception) when (ProcessEnd.HasBegun)
        {
            ProcessEnd.StayAsync().GetAwaiter().GetResult();
            throw;
        }
    }

    private TrainedNetwork Train(IDataView data)
    {
        string? validationPath = null;
        var progress = options.Progress ?? ConsoleProgress.IfInteractive();
        var trainingPath = backend.NewDatasetFile(options.CancellationToken);
        try
        {
            var encoder = new DatasetEncoder(columns, spec.Module.Mlp.InputSize, spec.Module.Mlp.OutputSize, channel, TimeProvider.System, progress);
            var training = encoder.Encode(data, trainingPath, isTraining: true, options.CancellationToken);
            var validation = options.ValidationSet is { } set
                ? encoder.Encode(set, validationPath = backend.NewDatasetFile(options.CancellationToken), isTraining: false, options.CancellationToken).Dataset
                : null;
            Describe(training, validation);
            if (options.ValidationFraction > 0 && training.Dataset.RowCount < 2)
                throw new InvalidDataException($"Training data has 1 row, expected at least 2 with ValidationFraction {options.ValidationFraction}: one to train on and one to validate on. Add rows or leave ValidationFraction at 0.");
            var job = backend.Train(spec, training.Dataset, validation, progress, Log, options.CancellationToken);
            channel.Info(MessageSensitivity.None, $"Job {job.JobId} trained {job.Result.Epochs} epochs on {job.Result.WorldSize} ranks in {job.Result.TrainingSeconds:0.0} s, loss {job.Result.TrainingLoss:0.0000}.");
            return new TrainedNetwork(job.Onnx, spec, job.Result, job.JobId);
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

    private void Describe(EncodingResult training, EncodedDataset? validation)
    {
        spec.Data.DatasetId = training.Dataset.Id;
        spec.Data.RowCount = training.Dataset.RowCount;
        spec.Data.ValidationDatasetId = validation?.Id ?? "";
        spec.Data.ValidationRowCount = validation?.RowCount ?? 0;
        if (options.NormalizeFeatures)
            spec.Data.Features = training.Features.ToScaling();
        if (columns.Task == MlTask.Regression)
            spec.Data.Label = training.Labels.ToScaling();
        AutomaticOptions.Complete(spec, options);
    }

    private void Log(LogLine line)
    {
        var message = $"{line.Source}: {line.Message}";
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
}
