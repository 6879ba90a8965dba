using MLDistributed.Protocol;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using MLDistributed.Training.Optimization;
using static TorchSharp.torch;

namespace MLDistributed.Training.Loop;

/// <summary>The training loop of one rank.</summary>
internal sealed class TrainingLoop(RankState state, TrainingPosition position, IRankReporter reporter, TrainingEnvironment environment, CancellationToken stop)
{
    private readonly JobSpec _spec = state.Spec;
    private readonly ProgressMeter? _progress = state.IsFirst ? new ProgressMeter(reporter, state.TotalSteps, environment.Time) : null;

    public void Run()
    {
        using var pause = new CollectionPause();
        while (position.Epoch < _spec.Epochs && !IsOutOfPatience)
        {
            var started = environment.Time.GetTimestamp();
            var epoch = position.Epoch;
            var (lossSum, weightSum) = (0.0, 0.0);
            var rowAt = RowsOf(epoch);
            for (var step = 0L; step < state.StepsPerEpoch; step++)
            {
                stop.ThrowIfCancellationRequested();
                var rate = LearningRate.At(_spec.Schedule, _spec.Optimizer.LearningRate, position.Step, state.TotalSteps);
                var totals = Step(rowAt, step, rate);
                ThrowIfNotFinite(totals, rate, position.Step + 1);
                (lossSum, weightSum) = (lossSum + totals.Loss * totals.WeightSum, weightSum + totals.WeightSum);
                position.Step++;
                _progress?.Step(epoch, position.Step, totals.Loss, rate, state.GlobalRows(step));
                pause.BetweenSteps();
            }

            EndEpoch(weightSum > 0 ? lossSum / weightSum : 0, state.ValidationCount > 0 ? Validate() : null, started);
            if (_spec.Checkpoint?.IntervalEpochs > 0 && position.Epoch % _spec.Checkpoint.IntervalEpochs == 0 && position.Epoch < _spec.Epochs && !IsOutOfPatience)
                WriteCheckpoint();
        }

        _progress?.Flush();
    }

    private bool IsOutOfPatience => _spec.EarlyStopping is { } stopping && position.EpochsWithoutImprovement >= stopping.PatienceEpochs;

    private StepTotals Step(Func<long, long> rowAt, long step, double rate)
    {
        for (var part = state.Split.First; part < state.Split.First + state.Split.Count; part++)
        {
            using var scope = NewDisposeScope();
            var batch = state.LoadTraining(rowAt, step, part);
            var outputs = state.Model.Forward(batch, position.Step);
            var loss = Losses.Sum(_spec, outputs, batch.Labels, batch.Weights);
            state.Model.Backward(loss, batch.GlobalRows);
            state.Tensors.PushGradients();
            state.Strategy.Add(part, new StepPart(Number(loss), batch.WeightSum));
        }

        var totals = state.Strategy.Step(rate);
        state.Tensors.PullParameters();
        return totals;
    }

    private Func<long, long> RowsOf(int epoch) => environment.RowTaken is not { } taken
        ? index => state.Order.TrainingRow(epoch, index)
        : index =>
        {
            var row = state.Order.TrainingRow(epoch, index);
            taken(position.Step + 1, row);
            return row;
        };

    private double Validate()
    {
        // Losses and weights by part, so that the order of summation does not depend on who has which part.
        var sums = new double[2 * state.Split.Total];
        for (var start = 0L; start < state.ValidationCount; start += _spec.GlobalBatchSize)
        {
            for (var part = state.Split.First; part < state.Split.First + state.Split.Count; part++)
            {
                stop.ThrowIfCancellationRequested();
                using var scope = NewDisposeScope();
                using var frozen = no_grad();
                var batch = state.LoadValidation(start, part);
                sums[2 * part] += Number(Losses.Sum(_spec, state.Model.Predict(batch.Features), batch.Labels, batch.Weights));
                sums[2 * part + 1] += batch.WeightSum;
            }
        }

        state.Collective.AllReduce(sums);
        var (loss, weight) = (0.0, 0.0);
        for (var part = 0; part < state.Split.Total; part++)
            (loss, weight) = (loss + sums[2 * part], weight + sums[2 * part + 1]);
        return weight > 0 ? loss / weight : 0;
    }

    private void EndEpoch(double trainingLoss, double? validationLoss, long started)
    {
        var isBest = validationLoss is null || validationLoss < position.BestLoss || position.History.Count == 0;
        if (validationLoss is { } loss)
        {
            // Any better loss is kept; only one that is better by the asked amount resets the patience.
            var counts = loss < position.PatienceLoss - (_spec.EarlyStopping?.MinImprovement ?? 0);
            position.EpochsWithoutImprovement = counts ? 0 : position.EpochsWithoutImprovement + 1;
            position.PatienceLoss = counts ? loss : position.PatienceLoss;
            position.BestLoss = isBest && !double.IsNaN(loss) ? loss : position.BestLoss;
            if (isBest && state.IsFirst)
                state.Best = state.CopyWeights();
        }

        var seconds = environment.Time.GetElapsedTime(started).TotalSeconds;
        var ended = new EpochEnded { Epoch = position.Epoch, TrainingLoss = trainingLoss, IsBest = isBest, Seconds = seconds };
        if (validationLoss is { } value)
            ended.ValidationLoss = value;
        position.BestEpoch = isBest ? position.Epoch : position.BestEpoch;
        position.Seconds += seconds;
        position.History.Add(ended);
        position.Epoch++;
        // All have read the parameters before the next step changes them.
        state.Collective.Barrier();
        if (state.IsFirst)
            reporter.Epoch(ended);
    }

    private void WriteCheckpoint()
    {
        var path = Path.Combine(state.Start.OutputFolder, $"checkpoint-{position.Epoch:D6}.safetensors");
        var failure = Checkpoint.Write(path, state, position);
        if (failure is not null)
        {
            reporter.Log(new LogLine
            {
                Level = LogLevel.Warning,
                Message = $"Checkpoint of epoch {position.Epoch} (step {position.Step}) could not be written ({failure.Message}), expected room for {Checkpoint.Bytes(state) / 1048576.0:N1} MiB in the worker's folder. " +
                    "Training goes on; after a failure it would start from the checkpoint before. Free some space.",
            });
        }
        else if (state.IsFirst)
        {
            // What is before the checkpoint is never trained again, so its losses must be out.
            _progress!.Flush();
            reporter.Checkpoint(path, position.Epoch, position.Step);
        }
    }

    private void ThrowIfNotFinite(StepTotals totals, double rate, long step)
    {
        if (totals.FirstNonFiniteRank < 0)
            return;
        _progress?.Flush();
        throw new TrainingException(
            new JobFailure
            {
                Kind = FailureKind.Training,
                Rank = totals.FirstNonFiniteRank,
                Step = step,
                Message = $"Loss is {(double.IsFinite(totals.Loss) ? double.NaN : totals.Loss)} at step {step} of {state.TotalSteps} (epoch {position.Epoch + 1}) on rank {totals.FirstNonFiniteRank} with learning rate {rate:G4}, expected a finite number. " +
                    "Lower the learning rate, add warm-up or gradient clipping, or look for extreme values in the data.",
            },
            isBystander: totals.FirstNonFiniteRank != state.Start.Rank);
    }

    private static unsafe double Number(Tensor loss) => *(float*)TorchMemory.Data(loss.cpu());
}
