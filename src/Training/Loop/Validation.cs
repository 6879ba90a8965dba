using MLDistributed.Protocol;
using MLDistributed.Training.Metrics;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using static TorchSharp.torch;

namespace MLDistributed.Training.Loop;

/// <summary>The loss and the metrics on the validation rows, the same on all ranks.</summary>
/// <param name="Loss">The mean over the rows.</param>
/// <param name="WeightSum">What all rows weigh together; of 0 there is no loss.</param>
/// <param name="Metrics">As <see cref="MetricNames"/> has them, then the module's own.</param>
/// <param name="Cost">What the best epoch has least of: the loss, in ranking 1 less the last metric.</param>
internal readonly record struct ValidationResult(double Loss, double WeightSum, double[] Metrics, double Cost)
{
    private static readonly TimeSpan s_signInterval = TimeSpan.FromMinutes(1);

    /// <summary>Passes over the validation rows once, each rank over its part of each batch.</summary>
    public static ValidationResult Of(RankState state, CollectionPause pause, IRankReporter reporter, TimeProvider time, CancellationToken stop)
    {
        var told = time.GetTimestamp();
        var metrics = state.Model.Metrics(state.Spec);
        // Losses and weights by part, so that the order of summation does not depend on who has which part: they choose the best epoch.
        var parts = 2 * state.Split.Total;
        var sums = new double[parts + metrics.Count];
        using var queued = new QueuedOutputs(metrics);
        var losses = new List<(int Part, Tensor Loss)>();
        for (var start = 0L; start < state.ValidationCount; start += state.BatchSize)
        {
            for (var part = state.Split.First; part < state.Split.First + state.Split.Count; part++)
            {
                stop.ThrowIfCancellationRequested();
                using var scope = NewDisposeScope();
                using var frozen = no_grad();
                var batch = state.LoadValidation(start, part);
                var outputs = state.Model.Predict(batch);
                var sum = state.Model.Loss(state.Spec, outputs, batch);
                sums[2 * part + 1] += batch.WeightSum;
                if (state.Tensors.StaysOnDevice)
                {
                    losses.Add((part, sum.DetachFromDisposeScope()));
                    queued.Add(outputs, batch);
                    continue;
                }

                sums[2 * part] += Losses.Number(sum);
                metrics.Add(outputs, batch.Labels, batch.Weights, sums.AsSpan(parts));
            }

            if (queued.IsFull)
                Settle();

            pause.BetweenSteps();
            if (!state.IsFirst || time.GetElapsedTime(told) < s_signInterval)
                continue;
            told = time.GetTimestamp();
            reporter.Log(new LogLine { Level = LogLevel.Trace, Message = $"validates: {start:N0} of {state.ValidationCount:N0} rows" }); // a sign that it gets on
        }

        Settle();
        state.Collective.AllReduce(sums);
        var (loss, weight) = (0.0, 0.0);
        for (var part = 0; part < state.Split.Total; part++)
            (loss, weight) = (loss + sums[2 * part], weight + sums[2 * part + 1]);
        var values = metrics.Values(sums.AsSpan(parts));
        return new ValidationResult(loss / weight, weight, values, state.Spec.Task == MlTask.Ranking ? 1 - values[^1] : loss / weight);

        // Device sync here.
        void Settle()
        {
            queued.AddTo(sums.AsSpan(parts));
            foreach (var (part, queuedSum) in losses)
            {
                sums[2 * part] += Losses.Number(queuedSum);
                queuedSum.Dispose();
            }

            losses.Clear();
        }
    }
}
