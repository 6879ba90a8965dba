using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Hears the losses of a job whose learning rate rises, and ends it when they have risen too.</summary>
/// <param name="from">The rate of the first step.</param>
/// <param name="to">That of the last.</param>
/// <param name="steps">How many steps there are to be, at least: whole epochs of them.</param>
/// <param name="listener">Hears everything too; null: nobody.</param>
internal sealed class LearningRateTest(double from, double to, int steps, IProgress<TrainingProgress>? listener) : IProgress<TrainingProgress>, IDisposable
{
    private const double Diverged = 4; // times the least loss
    private const double LeastRate = 1e-9;
    private const double LargestRate = 1e3;
    private const int LeastSteps = 10;
    private readonly CancellationTokenSource _end = new();
    private readonly SortedDictionary<long, double> _losses = [];
    private double _least = double.PositiveInfinity;
    private long _totalSteps;

    /// <summary>Cancelled when there is nothing more to see.</summary>
    public CancellationToken End => _end.Token;

    public LearningRateCurve Curve => new([.. _losses.TakeWhile(l => double.IsFinite(l.Value)).Select(l => new LearningRatePoint(from * Math.Pow(to / from, (double)(l.Key - 1) / Math.Max(1, _totalSteps - 1)), l.Value))]);

    /// <summary>Looks at what a user asks for.</summary>
    /// <exception cref="ArgumentException">Rates or steps are wrong.</exception>
    public static void Check(double from, double to, int steps)
    {
        if (!(from >= LeastRate && to > from && to <= LargestRate))
            throw new ArgumentException($"Rates are {from} to {to}, expected numbers from {LeastRate} to {LargestRate}, of which the first is the lesser.");
        if (steps is < LeastSteps or > JobSpecRules.MaxEpochs)
            throw new ArgumentException($"Steps are {steps:N0}, expected {LeastSteps} to {JobSpecRules.MaxEpochs:N0}.", nameof(steps));
    }

    /// <summary>Makes a job one that only looks: a rising rate, no validation, nothing kept.</summary>
    /// <param name="spec">The job, complete.</param>
    public void Shape(JobSpec spec)
    {
        var perEpoch = Math.Max(1, (spec.Data.RowCount + spec.GlobalBatchSize - 1) / spec.GlobalBatchSize);
        spec.Epochs = (int)Math.Min(JobSpecRules.MaxEpochs, (steps + perEpoch - 1) / perEpoch);
        spec.Schedule = new ScheduleSpec { Kind = ScheduleKind.Exponential, InitialFraction = from / to };
        (spec.Optimizer.LearningRate, spec.Optimizer.AveragingDecay) = (to, 0);
        (spec.EarlyStopping, spec.Checkpoint) = (null, null);
        (spec.Data.ValidationFraction, spec.Data.ValidationDatasetId, spec.Data.ValidationRowCount, spec.Data.ValidationWeightScale) = (0, "", 0, 0);
    }

    public void Report(TrainingProgress value)
    {
        listener?.Report(value);
        _totalSteps = Math.Max(_totalSteps, value.TotalSteps);
        foreach (var step in value.RecentLosses)
        {
            _losses[step.Step] = step.Loss;
            _least = Math.Min(_least, step.Loss);
            if (step.Loss > Diverged * Math.Abs(_least))
                _end.Cancel();
        }
    }

    public void Dispose() => _end.Dispose();
}
