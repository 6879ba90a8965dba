using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>
/// A list for people and programs: a line a row in a file or pipe. On a terminal, text of the last column that does not
/// fit goes below its row. Columns without any text are left out.
/// </summary>
internal sealed class ListTable(params string[] headings)
{
    private const int Gap = 2;
    private const int NarrowestText = 24;
    private readonly List<string[]> _rows = [];

    public int Count => _rows.Count;

    public void Add(params string[] cells) => _rows.Add([.. cells.Select(Clean)]);

    public void Write() => Write(Console.Out, Terminal.Width);

    /// <param name="output">Where to.</param>
    /// <param name="width">Of the terminal; null for a line a row, however long.</param>
    public void Write(TextWriter output, int? width)
    {
        var shown = Enumerable.Range(0, headings.Length).Where(c => _rows.Any(r => r[c].Length > 0)).ToArray();
        if (shown.Length == 0)
            return;
        var (columns, last) = (shown[..^1], shown[^1]);
        var widths = columns.Select(c => _rows.Max(r => Math.Max(r[c].Length, headings[c].Length))).ToArray();
        var indent = widths.Sum() + (Gap * widths.Length);
        var room = (width ?? int.MaxValue) - indent - 1;
        var isBelow = room < NarrowestText && _rows.Any(r => r[last].Length > room);
        WriteRow(headings);
        foreach (var row in _rows)
            WriteRow(row);

        void WriteRow(string[] row)
        {
            var line = string.Concat(columns.Zip(widths, (c, w) => row[c].PadRight(w + Gap)));
            var isHeading = ReferenceEquals(row, headings);
            var text = isHeading ? [row[last]] : Wrap(row[last], isBelow ? Math.Max((width ?? int.MaxValue) - (2 * Gap) - 1, NarrowestText) : room);
            if (!isBelow)
                line += text[0];
            output.WriteLine(line.TrimEnd());
            var margin = new string(' ', isBelow ? 2 * Gap : indent);
            if (!isHeading)
                foreach (var more in text.Skip(isBelow ? 0 : 1).Where(t => t.Length > 0))
                    output.WriteLine(margin + more);
        }
    }

    private static List<string> Wrap(string text, int room)
    {
        var lines = new List<string>();
        while (text.Length > room)
        {
            var end = text.LastIndexOf(' ', room);
            end = end > 0 ? end : room;
            lines.Add(text[..end]);
            text = text[end..].TrimStart();
        }

        return [.. lines, text];
    }

    // Names come from others: none may write lines or terminal commands.
    private static string Clean(string text) => string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c));
}

/// <summary>Where output goes.</summary>
internal static class Terminal
{
    private const int ShortIdLength = 12;

    /// <summary>Its columns; null when output goes to a file or a program.</summary>
    public static int? Width => Console.IsOutputRedirected ? null : Math.Max(40, Columns());

    /// <summary>Enough of an id for a person; commands take that much of it.</summary>
    public static string Id(string id) => Console.IsOutputRedirected || id.Length <= ShortIdLength ? id : id[..ShortIdLength];

    private static int Columns()
    {
        try
        {
            return Console.WindowWidth;
        }
        catch (IOException)
        {
            return 80;
        }
    }
}

/// <summary>Words for what the protocol enumerates.</summary>
internal static class Words
{
    public static string Of(JobState state) => state.ToString().ToLowerInvariant();

    public static string Of(DeviceKind kind) => kind.ToString().ToLowerInvariant();

    public static string Count(int count, string noun) => count == 1 ? $"1 {noun}" : $"{count} {noun}s";

    /// <summary>The time of day; the date too, when it is another than today's.</summary>
    public static string Of(DateTimeOffset time, DateTimeOffset now) =>
        time.ToLocalTime().Date == now.ToLocalTime().Date ? $"{time.ToLocalTime():HH:mm:ss}" : $"{time.ToLocalTime():yyyy-MM-dd HH:mm}";

    public static bool IsLast(this JobState state) => state is JobState.Succeeded or JobState.Failed or JobState.Cancelled;
}
