using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>How the training of a model went.</summary>
/// <param name="TrainingLoss">The mean training loss of the last epoch.</param>
/// <param name="ValidationLoss">The validation loss of the epoch whose weights the model has; null without validation data.</param>
/// <param name="Epochs">Epochs that were run.</param>
/// <param name="BestEpoch">The epoch, from 0, whose weights the model has.</param>
/// <param name="Steps">Optimizer steps that were run.</param>
/// <param name="WorldSize">Ranks that trained together.</param>
/// <param name="Duration">From the first step to the last, validation included.</param>
/// <param name="History">The losses of every epoch, in order.</param>
public sealed record TrainingSummary(
    double TrainingLoss, double? ValidationLoss, int Epochs, int BestEpoch, long Steps, int WorldSize, TimeSpan Duration, IReadOnlyList<EpochSummary> History)
{
    internal static TrainingSummary From(JobResult result) => new(
        result.TrainingLoss,
        result.HasValidationLoss ? result.ValidationLoss : null,
        result.Epochs,
        result.BestEpoch,
        result.Steps,
        result.WorldSize,
        TimeSpan.FromSeconds(double.IsFinite(result.TrainingSeconds) ? Math.Clamp(result.TrainingSeconds, 0, 1e9) : 0),
        [.. result.History.Select(e => new EpochSummary(e.Epoch, e.TrainingLoss, e.HasValidationLoss ? e.ValidationLoss : null))]);
}

/// <summary>The losses of one epoch.</summary>
/// <param name="Epoch">The epoch, from 0.</param>
/// <param name="TrainingLoss">The mean loss over the epoch's rows, as optimised.</param>
/// <param name="ValidationLoss">The loss on the validation rows; null without any.</param>
public sealed record EpochSummary(int Epoch, double TrainingLoss, double? ValidationLoss);
