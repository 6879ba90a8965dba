using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>
/// How much of what a worker tells of its jobs is kept: every line is a row and an event, and no worker may hold up the
/// others by many. Far more than training says, and less than the database takes.
/// </summary>
internal sealed class RelayLimits
{
    /// <summary>Longer lines are cut.</summary>
    public const int MaxLineLength = 4096;

    private const double PerSecond = 100;
    private const double Burst = 2000;
    private const double BytesPerSecond = 128 << 10;
    private const double BurstBytes = 2 << 20;
    private readonly TokenBucket _lines = new(PerSecond, Burst);
    private readonly TokenBucket _bytes = new(BytesPerSecond, BurstBytes);
    private readonly TokenBucket _progress = new(PerSecond, Burst);
    private readonly TokenBucket _progressBytes = new(8 * BytesPerSecond, 8 * BurstBytes); // a loss of each of many thousand steps a second
    private readonly TokenBucket _epochs = new(PerSecond, Burst);

    /// <summary>Whether a line of the log may pass.</summary>
    public bool Admits(LogLine line, TimeSpan now) => _lines.TryTake(1, now) && _bytes.TryTake(line.Message.Length + line.Source.Length, now);

    /// <summary>Whether a message of progress may pass.</summary>
    public bool Admits(Progress progress, TimeSpan now) => _progress.TryTake(1, now) && _progressBytes.TryTake(progress.CalculateSize(), now);

    /// <summary>Whether the end of an epoch may pass; the job's result has all of them.</summary>
    public bool AdmitsEpoch(TimeSpan now) => _epochs.TryTake(1, now);

    public static LogLine Cut(LogLine line)
    {
        if (line.Message.Length <= MaxLineLength && line.Source.Length <= MaxLineLength)
            return line;
        var cut = line.Clone();
        cut.Message = Cut(line.Message);
        cut.Source = Cut(line.Source);
        return cut;
    }

    private static string Cut(string text) => text.Length <= MaxLineLength ? text : $"{text[..MaxLineLength]}... ({text.Length - MaxLineLength:N0} characters more)";
}
