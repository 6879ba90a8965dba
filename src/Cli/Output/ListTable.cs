using System.Globalization;
using MLDistributed.Protocol;
using Spectre.Console;

namespace MLDistributed.Cli.Output;

/// <summary>
/// A list for people and programs, a line a row. On a terminal, what does not fit its width ends in "…": the widest columns
/// give way first, ids last. Columns without any text are left out.
/// </summary>
internal sealed class ListTable(params string[] headings)
{
    private const int Gap = 2;
    private readonly List<string[]> _rows = [];

    public void Add(params string[] cells) => _rows.Add([.. cells.Select(VisibleText.Of)]);

    public void Write() => Write(Console.Out, Terminal.Width, Terminal.HasColors);

    /// <param name="output">Where to.</param>
    /// <param name="width">Of the terminal; null for whole text, however long.</param>
    /// <param name="isColored">Whether states are told by their colour too.</param>
    public void Write(TextWriter output, int? width, bool isColored = false)
    {
        var shown = Enumerable.Range(0, headings.Length).Where(c => _rows.Any(r => r[c].Length > 0)).ToArray();
        if (shown.Length == 0)
            return;
        // One less: a full line would wrap the cursor on some terminals.
        var room = width is null ? int.MaxValue : width.Value - 1 - (Gap * (shown.Length - 1));
        var widths = Fit([.. shown.Select(c => _rows.Append(headings).Max(r => r[c].GetCellWidth()))], room);
        foreach (var row in _rows.Prepend(headings))
            output.WriteLine(string.Join(new string(' ', Gap), shown.Select((c, i) => Cell(row, c, widths[i]))).TrimEnd());

        string Cell(string[] row, int column, int room)
        {
            var text = Truncate(row[column], room);
            var padding = new string(' ', room - text.GetCellWidth());
            return (isColored && row != headings && headings[column] is "State" or "Status" ? StateColors.Paint(text) : text) + padding;
        }
    }

    /// <summary>The text, or as much of its beginning as fits with "…" behind it; never half a character.</summary>
    internal static string Truncate(string text, int room)
    {
        if (text.GetCellWidth() <= room)
            return text;
        var (end, used) = (0, 0);
        var elements = StringInfo.GetTextElementEnumerator(text);
        while (elements.MoveNext())
        {
            used += elements.GetTextElement().GetCellWidth();
            if (used > room - 1)
                break;
            end = elements.ElementIndex + elements.GetTextElement().Length;
        }

        return text[..end] + "…";
    }

    // The first column has the ids, which commands take: it stays whole while others can give way.
    private static int[] Fit(int[] widths, int room)
    {
        while (widths.Sum(w => (long)w) > room && widths.Max() > 1)
        {
            var widest = Math.Max(widths[1..].DefaultIfEmpty().Max(), 1);
            widths[widest > 1 ? Array.LastIndexOf(widths, widest) : 0]--;
        }

        return widths;
    }
}
