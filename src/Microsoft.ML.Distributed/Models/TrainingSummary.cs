using System.Collections.ObjectModel;
using System.Globalization;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>How the training of a model went.</summary>
/// <param name="TrainingLoss">The training loss of the epoch whose weights the model has (<see cref="EpochSummary.TrainingLoss"/>).</param>
/// <param name="ValidationLoss">The validation loss of that epoch; null without validation data.</param>
/// <param name="Epochs">Epochs that were run.</param>
/// <param name="BestEpoch">The epoch, from 1, whose weights the model has: the one with the best validation loss, in ranking with the highest NDCG@10, or the last.</param>
/// <param name="Steps">Optimizer steps that were run.</param>
/// <param name="WorldSize">Ranks that trained together.</param>
/// <param name="Duration">From the first step to the last, validation included.</param>
/// <param name="History">The losses of every epoch, in order.</param>
public sealed record TrainingSummary(
    double TrainingLoss, double? ValidationLoss, int Epochs, int BestEpoch, long Steps, int WorldSize, TimeSpan Duration, IReadOnlyList<EpochSummary> History)
{
    /// <summary>The metrics on the validation rows of the epoch whose weights the model has (<see cref="EpochSummary.ValidationMetrics"/>).</summary>
    public IReadOnlyDictionary<string, double> ValidationMetrics => Best?.ValidationMetrics ?? ReadOnlyDictionary<string, double>.Empty;

    /// <summary>The metrics on the training rows of the epoch whose weights the model has (<see cref="EpochSummary.TrainingMetrics"/>).</summary>
    public IReadOnlyDictionary<string, double> TrainingMetrics => Best?.TrainingMetrics ?? ReadOnlyDictionary<string, double>.Empty;

    private EpochSummary? Best => History.FirstOrDefault(e => e.Epoch == BestEpoch);

    /// <summary>The summary as a sentence, without the history.</summary>
    public override string ToString()
    {
        var best = BestEpoch < Epochs ? $", the best of which was epoch {BestEpoch}" : "";
        return string.Create(CultureInfo.InvariantCulture, $"{Count(Epochs, "epoch")}{best}, {Count(Steps, "step")} on {Count(WorldSize, "rank")} in {Duration.TotalSeconds:0.0} s: {EpochSummary.Losses(TrainingLoss, TrainingMetrics, ValidationLoss, ValidationMetrics)}");

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
        [.. result.History.Select(e => new EpochSummary(e.Epoch + 1, e.TrainingLoss, e.HasValidationLoss ? e.ValidationLoss : null) { TrainingMetrics = MetricNames.OfTraining(e), ValidationMetrics = MetricNames.OfValidation(e) })]);
}

/// <summary>The losses of one epoch.</summary>
/// <param name="Epoch">The epoch, from 1.</param>
/// <param name="TrainingLoss">The mean loss over the epoch's rows, each as it was when its step was made: the one number that the log, the progress of a job that succeeded and <see cref="TrainingSummary"/> tell.</param>
/// <param name="ValidationLoss">The loss on the validation rows after the epoch; null without any.</param>
public sealed record EpochSummary(int Epoch, double TrainingLoss, double? ValidationLoss)
{
    /// <summary>
    /// Metrics on the validation rows after the epoch, by ML.NET's names: MicroAccuracy and MacroAccuracy; Accuracy,
    /// AreaUnderRocCurve and F1Score; Accuracy and F1Score of named entities; RSquared, MeanAbsoluteError and RootMeanSquaredError; or NDCG@1, NDCG@3, NDCG@5 and NDCG@10 as
    /// <c>ml.Ranking.Evaluate</c> defines them; behind them those of a module of your own. Rows count with their weights, as in the loss. NaN where the rows do not define one, as the curve of a single class.
    /// </summary>
    /// <value>Empty without validation rows.</value>
    public IReadOnlyDictionary<string, double> ValidationMetrics { get; init; } = ReadOnlyDictionary<string, double>.Empty;

    /// <summary>
    /// The same metrics on the training rows, of what the epoch's steps put out: each row as it was when its step was made, with
    /// dropout, and so a little behind those of validation.
    /// </summary>
    /// <value>Empty of an epoch that was interrupted by a failure and gone on with.</value>
    public IReadOnlyDictionary<string, double> TrainingMetrics { get; init; } = ReadOnlyDictionary<string, double>.Empty;

    /// <summary>Whether all numbers are the same.</summary>
    public bool Equals(EpochSummary? other) =>
        other is not null && (Epoch, TrainingLoss, ValidationLoss).Equals((other.Epoch, other.TrainingLoss, other.ValidationLoss)) && TrainingMetrics.SequenceEqual(other.TrainingMetrics) && ValidationMetrics.SequenceEqual(other.ValidationMetrics);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Epoch, TrainingLoss, ValidationLoss);

    /// <summary>The epoch as a sentence.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"epoch {Epoch}: {Losses(TrainingLoss, TrainingMetrics, ValidationLoss, ValidationMetrics)}");

    internal static string Losses(double training, IReadOnlyDictionary<string, double> trainingMetrics, double? validation, IReadOnlyDictionary<string, double> validationMetrics)
    {
        // Those of validation are what a model is judged by; both would make a long line.
        var text = string.Create(CultureInfo.InvariantCulture, $"loss {training:G4}");
        return validation is { } loss
            ? string.Create(CultureInfo.InvariantCulture, $"{text}, validation loss {loss:G4}{InWords(validationMetrics)}")
            : text + InWords(trainingMetrics);
    }

    private static string InWords(IReadOnlyDictionary<string, double> metrics) =>
        metrics.Count == 0 ? "" : $" ({string.Join(", ", metrics.Select(m => string.Create(CultureInfo.InvariantCulture, $"{m.Key} {m.Value:G4}")))})";
}
