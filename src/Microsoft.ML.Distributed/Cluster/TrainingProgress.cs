using System.Collections.ObjectModel;

namespace Microsoft.ML.Distributed;

/// <summary>How far a job is. Reported a few times a second while <c>Fit</c> runs.</summary>
public sealed class TrainingProgress
{
    /// <summary>The job's id on the cluster; empty while data is read and sent.</summary>
    public required string JobId { get; init; }

    /// <summary>What the job does now.</summary>
    public required TrainingState State { get; init; }

    /// <summary>The epoch in work, from 1; 0 before the first.</summary>
    public int Epoch { get; init; }

    /// <summary>Epochs asked for. Early stopping may end the job before.</summary>
    public int Epochs { get; init; }

    /// <summary>Optimizer steps done.</summary>
    public long Step { get; init; }

    /// <summary>Optimizer steps of all epochs; 0 while unknown.</summary>
    public long TotalSteps { get; init; }

    /// <summary>The loss of the last step's global batch; NaN before the first. Once the job has succeeded, the loss of the model's epoch, <see cref="TrainingSummary.TrainingLoss"/>.</summary>
    public double Loss { get; init; } = double.NaN;

    /// <summary>
    /// The losses of the steps since the last report, in order and without gaps: together they are the training's curve.
    /// After a recovery the steps since the last checkpoint come again, with the same numbers.
    /// </summary>
    /// <value>Empty in reports that tell of something else.</value>
    public IReadOnlyList<StepLoss> RecentLosses { get; init; } = [];

    /// <summary>The last epoch's metrics on the training rows (<see cref="EpochSummary.TrainingMetrics"/>); empty before the first epoch's end.</summary>
    public IReadOnlyDictionary<string, double> TrainingMetrics { get; init; } = ReadOnlyDictionary<string, double>.Empty;

    /// <summary>The last epoch's loss on the validation rows; null without validation.</summary>
    public double? ValidationLoss { get; init; }

    /// <summary>The last epoch's metrics on the validation rows (<see cref="EpochSummary.ValidationMetrics"/>); empty without validation.</summary>
    public IReadOnlyDictionary<string, double> ValidationMetrics { get; init; } = ReadOnlyDictionary<string, double>.Empty;

    /// <summary>The learning rate of the last step.</summary>
    public double LearningRate { get; init; }

    /// <summary>Rows trained in a second, over all ranks.</summary>
    public double RowsPerSecond { get; init; }

    /// <summary>Ranks that train; 0 before they run.</summary>
    public int WorldSize { get; init; }

    /// <summary>Why the job is in this state, in a sentence; how much is done, while data is read and sent.</summary>
    public string Message { get; init; } = "";

    /// <summary>Time since the job was submitted.</summary>
    public TimeSpan Elapsed { get; init; }

    /// <summary>The part that is done, 0 to 1: of the data while it is sent, and while it is read when its source knows the number of rows; of the steps afterwards.</summary>
    public double Fraction { get; init; }
}

/// <summary>The loss of one optimizer step.</summary>
/// <param name="Step">The step, from 1, counted over all epochs.</param>
/// <param name="Loss">The loss that was optimised: the mean over the step's global batch, before the update.</param>
public readonly record struct StepLoss(long Step, double Loss);

/// <summary>What a job does.</summary>
public enum TrainingState
{
    /// <summary>Its rows are being read.</summary>
    Encoding,

    /// <summary>Its data is being sent.</summary>
    Uploading,

    /// <summary>It waits for devices.</summary>
    Queued,

    /// <summary>Its ranks are being started.</summary>
    Placing,

    /// <summary>It trains.</summary>
    Running,

    /// <summary>A rank or machine was lost; it starts again from its last checkpoint.</summary>
    Recovering,

    /// <summary>It has a model.</summary>
    Succeeded,

    /// <summary>It ended without a model.</summary>
    Failed,

    /// <summary>It was called off.</summary>
    Cancelled,
}
