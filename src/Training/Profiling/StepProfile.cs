using System.Diagnostics;

namespace MLDistributed.Training.Profiling;

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

    // The beginning of the first step is not known.
    private bool _isPartial = true;

    /// <summary>The time since the lap before was this phase's.</summary>
    public void Lap(StepPhase phase)
    {
        var now = Stopwatch.GetTimestamp();
        _current[(int)phase] += now - _last;
        _last = now;
        if (phase != StepPhase.Rest)
            return;
        for (var i = 0; i < s_phaseCount && !_isPartial && _microseconds.Count < MaxSteps * s_phaseCount; i++)
            _microseconds.Add((float)(_current[i] * 1e6 / Stopwatch.Frequency));
        Array.Clear(_current);
        _isPartial = false;
    }

    /// <summary>Begins anew with the next step, on the thread of the laps.</summary>
    public void Clear()
    {
        _microseconds.Clear();
        _isPartial = true;
    }

    /// <summary>Median and mean of a phase in microseconds; 0 without a step.</summary>
    public (double Median, double Mean) Of(StepPhase phase)
    {
        float[] times = [.. _microseconds.Where((_, i) => i % s_phaseCount == (int)phase).Order()];
        return times.Length == 0 ? default : (times[times.Length / 2], times.Average());
    }
}
