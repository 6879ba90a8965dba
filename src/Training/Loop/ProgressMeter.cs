using MLDistributed.Protocol;

namespace MLDistributed.Training.Loop;

/// <summary>Tells of steps a few times a second: all losses since the last time, without gaps, and the speed.</summary>
/// <param name="reporter">Whom.</param>
/// <param name="totalSteps">Of the whole job.</param>
/// <param name="time">For the intervals.</param>
/// <param name="untold">Losses of earlier steps that may not have been told.</param>
internal sealed class ProgressMeter(IRankReporter reporter, long totalSteps, TimeProvider time, IEnumerable<StepLoss>? untold = null)
{
    // Every step's loss is told; so many make a message before its time, which bounds its size.
    private const int MaxRecent = 2000;
    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(200);

    private readonly List<StepLoss> _recent = [.. untold ?? []];
    private long _reportedAt = time.GetTimestamp();
    private long _rows;
    private Progress? _last;

    /// <summary>Notes a step, and reports when it is time to.</summary>
    /// <param name="epoch">From 0.</param>
    /// <param name="step">Steps done, this one included.</param>
    /// <param name="loss">Of the global batch.</param>
    /// <param name="learningRate">Of the step.</param>
    /// <param name="rows">Of the global batch.</param>
    public void Step(int epoch, long step, double loss, double learningRate, int rows)
    {
        _rows += rows;
        _recent.Add(new StepLoss { Step = step, Loss = loss });
        var elapsed = time.GetElapsedTime(_reportedAt);
        _last ??= new Progress { TotalSteps = totalSteps };
        (_last.Epoch, _last.Step, _last.Loss, _last.LearningRate) = (epoch, step, loss, learningRate);
        if (elapsed >= s_interval || _recent.Count >= MaxRecent)
            Report(elapsed);
    }

    /// <summary>Reports what has not been reported.</summary>
    public void Flush()
    {
        if (_last is not null)
            Report(time.GetElapsedTime(_reportedAt));
    }

    private void Report(TimeSpan elapsed)
    {
        _last!.RowsPerSecond = _rows / Math.Max(elapsed.TotalSeconds, 1e-9);
        _last.Recent.AddRange(_recent);
        reporter.Progress(_last);
        (_last, _rows, _reportedAt) = (null, 0, time.GetTimestamp());
        _recent.Clear();
    }
}
