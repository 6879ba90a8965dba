using MLDistributed.Protocol;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Loop;

/// <summary>
/// What steps had for losses: told, added up and looked at for numbers that are not finite. At once where they are known; a
/// device is asked for those of many steps together, before whatever depends on them.
/// </summary>
internal sealed class StepLedger(RankState state, TrainingPosition position, EpochMetrics metrics, ProgressMeter? progress, TimeProvider time)
{
    // What is seen late is a loss that is not finite, and progress.
    private const int MostSteps = 64;

    // Of a second or two, and of as long as a worker may be silent; some 30 KB of a commit.
    private const int MostRecent = 2000;
    private static readonly TimeSpan s_longest = TimeSpan.FromMilliseconds(200);

    private readonly Queue<StepNote> _notes = new();
    private long _since = time.GetTimestamp();

    /// <summary>Notes a step.</summary>
    /// <param name="step">Which.</param>
    /// <param name="totals">Null: not known yet.</param>
    public void Add(StepNote step, StepTotals? totals)
    {
        if (totals is { } known)
        {
            Book(step, known, isDeferred: false);
            return;
        }

        _notes.Enqueue(step);
        if (_notes.Count >= MostSteps || metrics.IsFull || time.GetElapsedTime(_since) >= s_longest)
            Settle();
    }

    /// <summary>Returns when the losses of all steps are known. Device sync here.</summary>
    /// <exception cref="TrainingException">One is not finite, or of nothing.</exception>
    public void Settle()
    {
        foreach (var totals in state.Strategy.Settle())
            Book(_notes.Dequeue(), totals, isDeferred: true);
        metrics.Settle();
        _since = time.GetTimestamp();
    }

    /// <summary>0/0 is no loss, and least of all 0.</summary>
    public void ThrowIfWeightless(double weight, long step, string rows, bool isDeferred = false)
    {
        if (weight > 0)
            return;
        progress?.Flush();
        throw new TrainingException(
            new JobFailure
            {
                Kind = FailureKind.Invalid,
                Rank = state.Start.Rank,
                Step = step,
                Message = $"{rows} weigh {weight}, with the weights of their classes, expected some that count: there is no loss of nothing. Leave out rows of weight 0, narrow the range of the weights, or take more rows at once.",
            },
            isBystander: !isDeferred && !state.IsFirst);
    }

    // Ranks learn of deferred steps each in its own time: the first one is all that says why, and all would say the same.
    private void Book(StepNote step, StepTotals totals, bool isDeferred)
    {
        ThrowIfNotFinite(step, totals, isDeferred);
        ThrowIfWeightless(totals.WeightSum, step.Step, $"All {step.Rows} rows of step {step.Step}", isDeferred);
        position.LossSum += totals.Loss * totals.WeightSum;
        position.WeightSum += totals.WeightSum;
        progress?.Step(step.Epoch, step.Step, totals.Loss, step.LearningRate, step.Rows);
        if (state.Segment.WorldSize == state.Start.WorldSize)
        {
            position.Recent.Clear(); // those of a state that several hosts kept
            return;
        }

        position.Recent.Enqueue(new StepLoss { Step = step.Step, Loss = totals.Loss });
        if (position.Recent.Count > MostRecent)
            position.Recent.Dequeue();
    }

    private void ThrowIfNotFinite(StepNote step, StepTotals totals, bool isDeferred)
    {
        if (totals.FirstNonFiniteRank < 0)
            return;
        progress?.Flush();
        throw new TrainingException(
            new JobFailure
            {
                Kind = FailureKind.Training,
                Rank = totals.FirstNonFiniteRank,
                Step = step.Step,
                Message = $"Loss is {(double.IsFinite(totals.Loss) ? double.NaN : totals.Loss)} at step {step.Step} of {state.TotalSteps} (epoch {step.Epoch + 1}) on rank {totals.FirstNonFiniteRank} with learning rate {step.LearningRate:G4}, expected a finite number. " +
                    "Lower the learning rate, add warm-up or gradient clipping, or look for extreme values in the data.",
            },
            isBystander: !isDeferred && totals.FirstNonFiniteRank != state.Start.Rank);
    }
}

/// <summary>A step that was made.</summary>
/// <param name="Epoch">From 0.</param>
/// <param name="Step">Steps done, this one included.</param>
/// <param name="LearningRate">Its own.</param>
/// <param name="Rows">Of the global batch.</param>
internal readonly record struct StepNote(int Epoch, long Step, double LearningRate, int Rows);
