using System.Collections.ObjectModel;
using System.Globalization;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>How the training of a model went.</summary>
/// <param name="TrainingLoss">The training loss of the epoch whose weights the model has (<see cref="EpochSummary.TrainingLoss"/>).</param>
/// <param name="ValidationLoss">The validation loss of that epoch; null without validation data.</param>
/// <param name="Epochs">Epochs that were run.</param>
/// <param name="BestEpoch">The epoch, from 1, whose weights the model has: the one with the best validation loss, or the last.</param>
/// <param name="Steps">Optimizer steps that were run.</param>
/// <param name="WorldSize">Ranks that trained together.</param>
/// <param name="Duration">From the first step to the last, validation included.</param>
/// <param name="History">The losses of every epoch, in order.</param>
public sealed record TrainingSummary(
    double TrainingLoss, double? ValidationLoss, int Epochs, int BestEpoch, long Steps, int WorldSize, TimeSpan Duration, IReadOnlyList<EpochSummary> History)
{
    /// <summary>The metrics on the validation rows of the epoch whose weights the model has (<see cref="EpochSummary.ValidationMetrics"/>).</summary>
    public IReadOnlyDictionary<string, double> ValidationMetrics => History.FirstOrDefault(e => e.Epoch == BestEpoch)?.ValidationMetrics ?? ReadOnlyDictionary<string, double>.Empty;

    /// <summary>The summary as a sentence, without the history.</summary>
    public override string ToString()
    {
        var best = BestEpoch < Epochs ? $", the best of which was epoch {BestEpoch}" : "";
        return string.Create(CultureInfo.InvariantCulture, $"{Count(Epochs, "epoch")}{best}, {Count(Steps, "step")} on {Count(WorldSize, "rank")} in {Duration.TotalSeconds:0.0} s: {EpochSummary.Losses(TrainingLoss, ValidationLoss, ValidationMetrics)}");

        static string Count(long count, string noun) => string.Create(CultureInfo.InvariantCulture, $"{count:N0} {noun}{(count == 1 ? "" : "s")}");
    }

    // The wire counts epochs from 0, people from 1.
    internal static TrainingSummary From(JobResult result) => new(
        result.TrainingLoss,
        result.HasValidationLoss ? result.ValidationLoss : null,
        result.Epochs,
        result.BestEpoch + 1,
        result.Steps,
        result.WorldSize,
        TimeSpan.FromSeconds(double.IsFinite(result.TrainingSeconds) ? Math.Clamp(result.TrainingSeconds, 0, 1e9) : 0),
        [.. result.History.Select(e => new EpochSummary(e.Epoch + 1, e.TrainingLoss, e.HasValidationLoss ? e.ValidationLoss : null) { ValidationMetrics = MetricNames.With(e) })]);
}

/// <summary>The losses of one epoch.</summary>
/// <param name="Epoch">The epoch, from 1.</param>
/// <param name="TrainingLoss">The mean loss over the epoch's rows, each as it was when its step was made: the one number that the log, the progress of a job that succeeded and <see cref="TrainingSummary"/> tell.</param>
/// <param name="ValidationLoss">The loss on the validation rows after the epoch; null without any.</param>
public sealed record EpochSummary(int Epoch, double TrainingLoss, double? ValidationLoss)
{
    /// <summary>
    /// Metrics on the validation rows after the epoch, by ML.NET's names: MicroAccuracy and MacroAccuracy; Accuracy,
    /// AreaUnderRocCurve and F1Score; or RSquared, MeanAbsoluteError and RootMeanSquaredError. Rows count with their weights, as in
    /// the loss. NaN where the rows do not define one, as the curve of a single class.
    /// </summary>
    /// <value>Empty without validation rows.</value>
    public IReadOnlyDictionary<string, double> ValidationMetrics { get; init; } = ReadOnlyDictionary<string, double>.Empty;

    /// <summary>Whether all numbers are the same.</summary>
    public bool Equals(EpochSummary? other) =>
        other is not null && (Epoch, TrainingLoss, ValidationLoss).Equals((other.Epoch, other.TrainingLoss, other.ValidationLoss)) && ValidationMetrics.SequenceEqual(other.ValidationMetrics);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Epoch, TrainingLoss, ValidationLoss);

    /// <summary>The epoch as a sentence.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"epoch {Epoch}: {Losses(TrainingLoss, ValidationLoss, ValidationMetrics)}");

    internal static string Losses(double training, double? validation, IReadOnlyDictionary<string, double> metrics)
    {
        var text = string.Create(CultureInfo.InvariantCulture, $"loss {training:G4}");
        if (validation is not { } loss)
            return text;
        text += string.Create(CultureInfo.InvariantCulture, $", validation loss {loss:G4}");
        return metrics.Count == 0 ? text : $"{text} ({string.Join(", ", metrics.Select(m => string.Create(CultureInfo.InvariantCulture, $"{m.Key} {m.Value:G4}")))})";
    }
}
