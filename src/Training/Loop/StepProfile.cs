using System.Diagnostics;

namespace MLDistributed.Training.Loop;

/// <summary>What a rank does in a step, in order.</summary>
internal enum StepPhase
{
    /// <summary>Gathering the batch, or waiting for it where it is gathered beside the step.</summary>
    Feed,

    /// <summary>Forward and backward.</summary>
    Compute,

    /// <summary>Waiting for the gradients of the others.</summary>
    AwaitGradients,

    /// <summary>Summing and updating the slice.</summary>
    Update,

    /// <summary>Waiting for the others' slices, and clearing the gradients that they have read.</summary>
    AwaitParameters,

    /// <summary>All else: progress, checkpoints, collecting garbage.</summary>
    Rest,
}

/// <summary>Where a step's time goes, by stopwatch; some 25 ns a lap. For benchmarks: nobody listens otherwise.</summary>
internal sealed class StepProfile
{
    private const int MaxSteps = 1 << 20;

    private static readonly int s_phaseCount = Enum.GetValues<StepPhase>().Length;
    private readonly List<float> _microseconds = [];
    private readonly long[] _current = new long[s_phaseCount];
    private long _last = Stopwatch.GetTimestamp();

    /// <summary>The time since the lap before was this phase's.</summary>
    public void Lap(StepPhase phase)
    {
        var now = Stopwatch.GetTimestamp();
        _current[(int)phase] += now - _last;
        _last = now;
        if (phase != StepPhase.Rest)
            return;
        for (var i = 0; i < s_phaseCount && _microseconds.Count < MaxSteps * s_phaseCount; i++)
            _microseconds.Add((float)(_current[i] * 1e6 / Stopwatch.Frequency));
        Array.Clear(_current);
    }

    /// <summary>Median and mean of a phase over the later half of the steps, in microseconds.</summary>
    public (double Median, double Mean) Of(StepPhase phase)
    {
        float[] times = [.. LaterHalf().Select(at => _microseconds[at + (int)phase]).Order()];
        return times.Length == 0 ? default : (times[times.Length / 2], times.Average());
    }

    /// <summary>How long each of the later half of the steps took, in microseconds.</summary>
    public float[] Steps() => [.. LaterHalf().Select(at => Enumerable.Range(at, s_phaseCount).Sum(i => _microseconds[i]))];

    private IEnumerable<int> LaterHalf()
    {
        var steps = _microseconds.Count / s_phaseCount;
        return Enumerable.Range(steps / 2, steps - steps / 2).Select(step => step * s_phaseCount);
    }
}
