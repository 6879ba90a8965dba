using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// A training's progress as one line on standard error, redrawn in place, with a summary at the end. Where standard error
/// is not a terminal, a line a second.
/// </summary>
/// <remarks>Where standard error cannot be written, it is silent: it never ends a training. <c>Fit</c> uses one by itself when it is given no <see cref="IProgress{T}"/> and runs in a terminal.</remarks>
public sealed class ConsoleProgress : IProgress<TrainingProgress>
{
    private const int BarWidth = 20;
    private const int NarrowBarWidth = 10;
    private const int WideWindow = 100;
    private const string EraseLine = "\r\e[K";
    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan s_plainInterval = TimeSpan.FromSeconds(1);
    private readonly Lock _gate = new();
    private readonly TextWriter _writer;
    private readonly TimeProvider _time;
    private readonly Func<int> _width;
    private readonly bool _isPlain;
    private readonly bool _isUnicode;
    private long _drawn;
    private TrainingState? _drawnState;
    private bool _isLineOpen;
    private bool _isBroken;
    private (TimeSpan Elapsed, double Fraction)? _runningSince;

    /// <summary>Writes to standard error.</summary>
    public ConsoleProgress()
        : this(Console.Error, TimeProvider.System, WindowWidth, Console.IsErrorRedirected)
    {
    }

    internal ConsoleProgress(TextWriter writer, TimeProvider time, Func<int> width, bool isPlain = false)
    {
        _isPlain = isPlain;
        _writer = writer;
        _time = time;
        _width = width;
        _isUnicode = writer.Encoding.WebName.StartsWith("utf", StringComparison.OrdinalIgnoreCase);
    }

    /// <inheritdoc/>
    public void Report(TrainingProgress value)
    {
        ArgumentNullException.ThrowIfNull(value);
        Draw(() => Show(value));
    }

    /// <summary>One for a terminal; null where nobody looks.</summary>
    internal static ConsoleProgress? IfInteractive() =>
        Console.IsErrorRedirected || Environment.GetEnvironmentVariable("TERM") is "dumb" || !Environment.UserInteractive ? null : new ConsoleProgress();

    /// <summary>Clears a line that no summary followed.</summary>
    internal void End() => Draw(() =>
    {
        if (_isLineOpen)
            _writer.Write(EraseLine);
        _isLineOpen = false;
        _drawnState = null;
    });

    [SuppressMessage("Design", "CA1031", Justification = "Whatever the writer throws.")]
    private void Draw(Action draw)
    {
        lock (_gate)
        {
            if (_isBroken)
                return;
            try
            {
                draw();
            }
            catch (Exception)
            {
                // Closed, or on a full disk: decoration, which does not end a training, and is not tried a thousand times.
                _isBroken = true;
            }
        }
    }

    private void Show(TrainingProgress value)
    {
        if (value.State is TrainingState.Succeeded or TrainingState.Failed or TrainingState.Cancelled)
        {
            _writer.Write((_isLineOpen ? EraseLine : "") + Summary(value) + Environment.NewLine);
            _isLineOpen = false;
            _runningSince = null;
            _drawnState = null;
            return;
        }

        if (value.State != TrainingState.Running)
            _runningSince = null;
        else
            _runningSince ??= (value.Elapsed, value.Fraction);
        var isNews = value.State != _drawnState || _time.GetElapsedTime(_drawn) >= (_isPlain ? s_plainInterval : s_interval);
        if (!isNews)
            return;
        (_drawn, _drawnState) = (_time.GetTimestamp(), value.State);
        if (_isPlain)
        {
            _writer.WriteLine(Line(value, int.MaxValue));
            return;
        }

        _isLineOpen = true;
        var room = Math.Max(_width() - 1, 1);
        var line = Line(value, room);
        _writer.Write(EraseLine + line[..Math.Min(line.Length, room)]);
    }

    private string Line(TrainingProgress p, int room)
    {
        if (p.State != TrainingState.Running)
        {
            var state = p.State.ToString().ToLowerInvariant();
            var message = VisibleText.Of(p.Message); // names of other jobs may be in it
            return message.Length == 0 ? state
                : p.State is TrainingState.Uploading or TrainingState.Encoding && p.Fraction > 0 ? $"{state} {Bar(p.Fraction, room)} {message}"
                : $"{state}: {message}";
        }

        var line = new StringBuilder();
        line.Append(Invariant($"epoch {p.Epoch}/{p.Epochs} {Bar(p.Fraction, room)} {Math.Floor(p.Fraction * 100):0}%"));
        if (double.IsFinite(p.Loss))
            line.Append(Invariant($" loss {p.Loss:0.0000}"));
        if (p.ValidationLoss is { } validation)
            line.Append(Invariant($" (validation {validation:0.0000})"));
        foreach (var part in Fitting([RowsPerSecond(p), Ranks(p), TimeLeft(p)], room - line.Length))
            line.Append(part);
        return line.ToString();
    }

    // In a narrow window the number of ranks goes first, which never changes; the time that is left stays longest.
    private static string[] Fitting(string[] parts, int room)
    {
        foreach (var least in (int[])[1, 0, 2])
        {
            if (parts.Sum(p => p.Length) > room)
                parts[least] = "";
        }

        return parts;
    }

    private string RowsPerSecond(TrainingProgress p) => p.RowsPerSecond > 0 ? Dot + Invariant($"{p.RowsPerSecond:N0} rows/s") : "";

    private string Ranks(TrainingProgress p) => p.WorldSize > 0 ? Dot + (p.WorldSize == 1 ? "1 rank" : Invariant($"{p.WorldSize} ranks")) : "";

    private string TimeLeft(TrainingProgress p) => Left(p) is { } left ? $"{Dot}{Duration(left)} left" : "";

    private string Dot => _isUnicode ? " · " : ", ";

    private string Summary(TrainingProgress p)
    {
        if (p.State != TrainingState.Succeeded)
            return $"{(p.State == TrainingState.Failed ? "Training failed" : "Training was cancelled")}{(p.Epoch > 0 ? $" in epoch {p.Epoch}" : "")} after {Duration(p.Elapsed)}{(p.Message.Length > 0 ? ": " + VisibleText.Hanging(p.Message, "  ") : "")}";
        var text = $"Trained {p.Epoch} {(p.Epoch == 1 ? "epoch" : "epochs")} in {Duration(p.Elapsed)}{(p.WorldSize > 0 ? $" on {p.WorldSize} {(p.WorldSize == 1 ? "rank" : "ranks")}" : "")}";
        if (double.IsFinite(p.Loss))
            text += Invariant($": loss {p.Loss:0.0000}");
        return p.ValidationLoss is { } loss ? text + Invariant($", validation loss {loss:0.0000}") : text;
    }

    private string Bar(double fraction, int room)
    {
        var width = room < WideWindow ? NarrowBarWidth : BarWidth;
        // Half cells: ╸ is the left half of ━.
        var halves = (int)Math.Round(Math.Clamp(fraction, 0, 1) * width * 2);
        return _isUnicode
            ? (new string('━', halves / 2) + (halves % 2 == 1 ? "╸" : "")).PadRight(width)
            : "[" + new string('#', halves / 2).PadRight(width, '-') + "]";
    }

    private TimeSpan? Left(TrainingProgress p)
    {
        if (_runningSince is not { } since || p.Fraction - since.Fraction < 0.01)
            return null;
        return (p.Elapsed - since.Elapsed) * ((1 - p.Fraction) / (p.Fraction - since.Fraction));
    }

    private static string Duration(TimeSpan time) =>
        time.TotalSeconds < 9.95 ? Invariant($"{time.TotalSeconds:0.0} s")
        : time.TotalSeconds < 100 ? Invariant($"{time.TotalSeconds:0} s")
        : time.TotalMinutes < 100 ? Invariant($"{time.TotalMinutes:0} min")
        : Invariant($"{time.TotalHours:0.0} h");

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static int WindowWidth()
    {
        try
        {
            return Console.WindowWidth is > 0 and var width ? width : 80;
        }
        catch (IOException)
        {
            return 80;
        }
    }
}
