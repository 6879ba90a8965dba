using MLDistributed.Protocol;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Commits;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using MLDistributed.Training.Optimization;
using MLDistributed.Training.Profiling;
using static TorchSharp.torch;

namespace MLDistributed.Training.Loop;

/// <summary>The training loop of one rank.</summary>
internal sealed class TrainingLoop(RankState state, TrainingPosition position, CommitWriter commits, IRankReporter reporter, TrainingEnvironment environment, CancellationToken stop)
{
    private readonly JobSpec _spec = state.Spec;
    private readonly ProgressMeter? _progress = state.IsFirst ? new ProgressMeter(reporter, state.TotalSteps, environment.Time, position.Recent) : null;
    private readonly EpochMetrics _metrics = new(state);
    private StepLedger? _ledger;
    private bool _isPublishing;

    // Of the last step's global batch.
    private int _rows;

    private StepLedger Ledger => _ledger ??= new StepLedger(state, position, _metrics, _progress, environment.Time);

    public void Run()
    {
        using var metrics = _metrics;
        using var checkpoints = new CheckpointWriter(state, reporter, _progress is null ? null : _progress.Flush, environment.Time, environment.WaitForCheckpoints);
        using var pause = new CollectionPause(words => reporter.Log(new LogLine { Level = LogLevel.Warning, Message = words }));
        while (position.Epoch < _spec.Epochs && !IsOutOfPatience)
        {
            var started = environment.Time.GetTimestamp();
            var earlier = position.EpochSeconds;
            var epoch = position.Epoch;
            var rowAt = RowsOf(epoch);
            // Not from 0 in an epoch that a checkpoint has cut.
            var first = position.Step - epoch * state.StepsPerEpoch;
            _metrics.Begin(isWhole: first == 0);
            for (var step = first; step < state.StepsPerEpoch; step++)
            {
                stop.ThrowIfCancellationRequested();
                var rate = LearningRate.At(_spec.Schedule, _spec.Optimizer.LearningRate, position.Step, state.TotalSteps);
                var point = new TrainingPoint(position.Step + 1, IsEndOfEpoch: false);
                checkpoints.Plan(point, isWanted: false);
                commits.BeginStep(point);
                var totals = Step(rowAt, step, rate);
                position.EpochSeconds = earlier + environment.Time.GetElapsedTime(started).TotalSeconds;
                Ledger.Add(new StepNote(epoch, ++position.Step, rate, _rows), totals);
                BeginIfPlanned(checkpoints, point);
                CommitIfPlanned(point);
                pause.BetweenSteps();
                environment.Profile?.Lap(StepPhase.Rest);
            }

            Ledger.Settle();
            AwaitParameters();
            var validation = state.ValidationCount > 0 ? Validate(pause) : (ValidationResult?)null;
            position.EpochSeconds = earlier + environment.Time.GetElapsedTime(started).TotalSeconds;
            EndEpoch(validation, checkpoints);
            pause.BetweenSteps();
        }

        checkpoints.Complete();
        _progress?.Flush();
    }

    private bool IsOutOfPatience => _spec.EarlyStopping is { } stopping && position.EpochsWithoutImprovement >= stopping.PatienceEpochs;

    private StepTotals? Step(Func<long, long> rowAt, long step, double rate)
    {
        for (var part = state.Split.First; part < state.Split.First + state.Split.Count; part++)
        {
            using var scope = NewDisposeScope();
            var batch = state.LoadTraining(position.Epoch, rowAt, step, part);
            environment.Profile?.Lap(StepPhase.Feed);
            AwaitParameters();
            var (loss, outputs) = state.Model.Train(_spec, batch, position.Epoch, position.Step);
            state.Model.Backward(loss, _rows = batch.GlobalRows);
            _metrics.Add(outputs, batch);
            state.Strategy.Add(part, loss, batch.WeightSum);
        }

        state.Tensors.PushGradients();
        environment.Profile?.Lap(StepPhase.Compute);
        _isPublishing = true;
        return state.Strategy.Step(rate);
    }

    // As late as can be: progress is told and the next batch gathered while others still update.
    private void AwaitParameters()
    {
        if (!_isPublishing)
            return;
        state.Strategy.AwaitParameters();
        state.Tensors.PullParameters();
        _isPublishing = false;
    }

    private Func<long, long> RowsOf(int epoch) => environment.RowTaken is not { } taken
        ? index => state.Order.TrainingRow(epoch, index)
        : index =>
        {
            var row = state.Order.TrainingRow(epoch, index);
            taken(epoch * state.StepsPerEpoch + index / state.BatchSize + 1, row);
            return row;
        };

    private ValidationResult Validate(CollectionPause pause)
    {
        // The sum over the ranks at the end of the one is their meeting before the other.
        state.SwapAverage();
        var result = ValidationResult.Of(state, pause, reporter, environment.Time, stop);
        state.SwapAverage();
        Ledger.ThrowIfWeightless(result.WeightSum, position.Step, $"All {state.ValidationCount} validation rows");
        return result;
    }

    private void EndEpoch(ValidationResult? validation, CheckpointWriter checkpoints)
    {
        var trainingLoss = position.LossSum / position.WeightSum;
        var isBest = validation is null || validation.Value.Cost < position.BestCost || position.History.Count == 0;
        if (validation?.Cost is { } cost)
        {
            // Any better epoch is kept; only one that is better by the asked amount resets the patience.
            var counts = cost < position.PatienceCost - (_spec.EarlyStopping?.MinImprovement ?? 0);
            position.EpochsWithoutImprovement = counts ? 0 : position.EpochsWithoutImprovement + 1;
            position.PatienceCost = counts ? cost : position.PatienceCost;
            position.BestCost = isBest && !double.IsNaN(cost) ? cost : position.BestCost;
            if (isBest)
                state.Best = state.CopyWeights();
        }

        var ended = new EpochEnded { Epoch = position.Epoch, TrainingLoss = trainingLoss, IsBest = isBest, Seconds = position.EpochSeconds, Task = _spec.Task, TrainingMetrics = { _metrics.End() }, OwnMetrics = { state.Model.OwnMetrics } };
        if (validation is { } result)
        {
            ended.ValidationLoss = result.Loss;
            ended.ValidationMetrics.AddRange(result.Metrics);
        }

        position.BestEpoch = isBest ? position.Epoch : position.BestEpoch;
        position.Seconds += position.EpochSeconds;
        (position.LossSum, position.WeightSum, position.EpochSeconds) = (0, 0, 0);
        position.History.Add(ended);
        position.Epoch++;
        if (_spec.Checkpoint?.IntervalEpochs > 0 && position.Epoch < _spec.Epochs && !IsOutOfPatience)
        {
            var point = new TrainingPoint(position.Step, IsEndOfEpoch: true);
            checkpoints.Plan(point, isWanted: position.Epoch % _spec.Checkpoint.IntervalEpochs == 0);
            // All see what rank 0 has planned.
            state.Collective.Barrier();
            BeginIfPlanned(checkpoints, point);
        }

        if (state.IsFirst)
            reporter.Epoch(ended);
    }

    private void CommitIfPlanned(TrainingPoint point)
    {
        if (!commits.IsPlanned(point))
            return;
        Ledger.Settle();
        // What is before the commit is never trained again, so its losses must be out.
        _progress?.Flush();
        AwaitParameters();
        commits.Write(point, position);
    }

    private void BeginIfPlanned(CheckpointWriter checkpoints, TrainingPoint point)
    {
        if (!checkpoints.IsPlanned(point))
            return;
        Ledger.Settle();
        AwaitParameters();
        checkpoints.Begin(point, position);
    }
}
