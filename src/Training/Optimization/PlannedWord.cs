using MLDistributed.Collectives.SharedMemory;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// What rank 0 plans for the end of a step, which all ranks have heard when they have met there: on its own host by memory,
/// on others with the step's totals.
/// </summary>
/// <remarks>Two words take turns: rank 0 writes one again two steps later, when all have met once more and so have read it.</remarks>
/// <param name="segment">This host's memory.</param>
/// <param name="isFirstHost">Whether rank 0 is here.</param>
internal sealed class PlannedWord(SharedSegment segment, bool isFirstHost)
{
    // Behind those of checkpoints.
    private const int FirstWord = 14;

    /// <summary>The word of a step, counted from 1, in a host's memory: below 2^53, so that it is exact among totals.</summary>
    public static ref long Of(SharedSegment segment, long step) => ref segment.Signal(0, FirstWord + (int)(step % 2));

    /// <summary>What rank 0's host tells the others; theirs is 0, and sums are its word.</summary>
    public double Told(long step) => isFirstHost ? Volatile.Read(ref Of(segment, step)) : 0;

    /// <summary>On another host: by any of its ranks, before it looks.</summary>
    public void Hear(long step, double told)
    {
        if (!isFirstHost)
            Volatile.Write(ref Of(segment, step), (long)told);
    }
}
