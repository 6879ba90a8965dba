using System.Collections.ObjectModel;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Tells a job's events to the user: as progress, and in words to the log.</summary>
internal sealed class JobNarrator(string jobId, JobSpec spec, IProgress<TrainingProgress>? progress, Action<LogLine> log, TimeProvider time)
{
    private readonly long _submitted = time.GetTimestamp();
    private TrainingState _state = TrainingState.Queued;
    private string _message = "";
    private Progress _latest = new() { Epoch = -1, Loss = double.NaN };
    private double? _validationLoss;
    private IReadOnlyDictionary<string, double> _trainingMetrics = ReadOnlyDictionary<string, double>.Empty;
    private IReadOnlyDictionary<string, double> _validationMetrics = ReadOnlyDictionary<string, double>.Empty;
    private int _worldSize;

    public void Tell(JobEvent e)
    {
        switch (e.EventCase)
        {
            case JobEvent.EventOneofCase.State:
                TellState(e.State, e.Attempt);
                break;
            case JobEvent.EventOneofCase.Progress:
                _latest = Plausible(e.Progress);
                Say(LogLevel.Trace, $"step {_latest.Step:N0} of {_latest.TotalSteps:N0}: loss {_latest.Loss:G4}, {_latest.RowsPerSecond:N0} rows/s");
                break;
            case JobEvent.EventOneofCase.Epoch:
                TellEpoch(e.Epoch);
                break;
            case JobEvent.EventOneofCase.Log:
                log(e.Log);
                break;
            default:
                return; // of a later release
        }

        progress?.Report(Snapshot(e.Progress?.Recent ?? []));
    }

    public void Say(LogLevel level, string message) => log(new LogLine { Level = level, Source = $"job {jobId}", Message = message });

    private void TellState(StateChanged change, int attempt)
    {
        _state = ToState(change.State);
        _message = change.Reason;
        if (change.WorldSize > 0)
            _worldSize = Math.Min(change.WorldSize, JobSpecRules.MaxRanks);
        var why = change.Reason.Length > 0 ? ": " + change.Reason : "";
        switch (_state)
        {
            case TrainingState.Running:
                Say(LogLevel.Info, $"running on {Count(_worldSize, "rank")}{(attempt > 1 ? $", attempt {attempt}" : "")}{why}");
                break;
            case TrainingState.Recovering:
                Say(LogLevel.Warning, $"recovering{why}");
                break;
            case TrainingState.Failed:
                Say(LogLevel.Error, $"failed: {(change.Failure?.Message is { Length: > 0 } failure ? failure : change.Reason)}");
                break;
            case TrainingState.Succeeded when change.Result is { } result:
                _validationLoss = result.HasValidationLoss ? result.ValidationLoss : _validationLoss;
                // The model's, not the last step's.
                (_latest = _latest.Clone()).Loss = result.TrainingLoss;
                var summary = TrainingSummary.From(result);
                (_trainingMetrics, _validationMetrics) = (summary.TrainingMetrics, summary.ValidationMetrics);
                Say(LogLevel.Info, $"succeeded: {summary}");
                break;
            default:
                Say(LogLevel.Info, $"{_state.ToString().ToLowerInvariant()}{why}");
                break;
        }
    }

    private void TellEpoch(EpochEnded epoch)
    {
        _validationLoss = epoch.HasValidationLoss ? epoch.ValidationLoss : null;
        (_trainingMetrics, _validationMetrics) = (MetricNames.OfTraining(epoch), MetricNames.OfValidation(epoch));
        Say(LogLevel.Info, $"epoch {epoch.Epoch + 1} of {spec.Epochs}: {EpochSummary.Losses(epoch.TrainingLoss, _trainingMetrics, _validationLoss, _validationMetrics)}{(epoch.IsBest && epoch.HasValidationLoss ? ", the best so far" : "")}, {epoch.Seconds:0.00} s");
    }

    // A worker may say anything; listeners divide by these, and draw with them. A loss may well be no number.
    private Progress Plausible(Progress told)
    {
        told.Epoch = Math.Clamp(told.Epoch, 0, Math.Max(spec.Epochs - 1, 0));
        told.TotalSteps = Math.Max(told.TotalSteps, 0);
        told.Step = Math.Clamp(told.Step, 0, told.TotalSteps == 0 ? long.MaxValue : told.TotalSteps);
        told.LearningRate = Rate(told.LearningRate);
        told.RowsPerSecond = Rate(told.RowsPerSecond);
        return told;

        static double Rate(double value) => double.IsFinite(value) && value > 0 ? value : 0;
    }

    private TrainingProgress Snapshot(IReadOnlyList<MLDistributed.Protocol.StepLoss> losses) => new()
    {
        JobId = jobId,
        State = _state,
        Epoch = _latest.Epoch + 1,
        Epochs = spec.Epochs,
        Step = _latest.Step,
        TotalSteps = _latest.TotalSteps,
        Loss = _latest.Loss,
        RecentLosses = [.. losses.Select(l => new StepLoss(l.Step, l.Loss))],
        ValidationLoss = _validationLoss,
        TrainingMetrics = _trainingMetrics,
        ValidationMetrics = _validationMetrics,
        LearningRate = _latest.LearningRate,
        RowsPerSecond = _latest.RowsPerSecond,
        WorldSize = _worldSize,
        Message = _message,
        Elapsed = time.GetElapsedTime(_submitted),
        Fraction = _state == TrainingState.Succeeded ? 1 : _latest.TotalSteps > 0 ? Math.Clamp((double)_latest.Step / _latest.TotalSteps, 0, 1) : 0,
    };

    private static string Count(int count, string noun) => count == 1 ? $"1 {noun}" : $"{count} {noun}s";

    private static TrainingState ToState(JobState state) => state switch
    {
        JobState.Placing => TrainingState.Placing,
        JobState.Running => TrainingState.Running,
        JobState.Recovering => TrainingState.Recovering,
        JobState.Succeeded => TrainingState.Succeeded,
        JobState.Failed => TrainingState.Failed,
        JobState.Cancelled => TrainingState.Cancelled,
        _ => TrainingState.Queued,
    };
}
