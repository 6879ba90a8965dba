using System.Buffers;
using System.Globalization;
using System.Text;

namespace MLDistributed.Protocol;

/// <summary>
/// Text that came from elsewhere (job names, hosts, log lines), as it may be written to a terminal or a log: characters that
/// would move the cursor, end the line, hide, or turn the order of those around them are written out, as \n or \u202E.
/// </summary>
public static class VisibleText
{
    private const char ZeroWidthNonJoiner = '\u200C'; // Persian words and joined emoji need these two
    private const char ZeroWidthJoiner = '\u200D';

    /// <summary>The text on one line, with nothing in it that cannot be seen.</summary>
    /// <param name="text">Any text, well-formed or not.</param>
    public static string Of(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        StringBuilder? visible = null;
        for (var i = 0; i < text.Length;)
        {
            var isRune = Rune.DecodeFromUtf16(text.AsSpan(i), out var rune, out var length) == OperationStatus.Done;
            if (!isRune || IsHidden(rune))
                Escape(visible ??= new StringBuilder(text, 0, i, text.Length + 16), text.AsSpan(i, length), isRune ? rune.Value : text[i]);
            else
                visible?.Append(text, i, length);
            i += length;
        }

        return visible?.ToString() ?? text;
    }

    /// <summary>As <see cref="Of"/>, and at most some 60 characters of it: for a message about a value that may have any length.</summary>
    /// <param name="text">Any text, well-formed or not.</param>
    public static string Shortened(string text)
    {
        const int Most = 60;
        ArgumentNullException.ThrowIfNull(text);
        return text.Length <= Most ? Of(text) : $"{Of(text[..Most])}... ({text.Length:N0} characters)";
    }

    /// <summary>The text with its line ends kept, each line as <see cref="Of"/> has it.</summary>
    /// <param name="text">Any text, well-formed or not.</param>
    public static IReadOnlyList<string> Lines(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return [.. text.Split('\n').Select(line => Of(line.TrimEnd('\r')))];
    }

    /// <summary>The text's lines as <see cref="Lines"/> has them, those behind the first below it with a margin: none of them can be taken for one of its own.</summary>
    /// <param name="text">Any text, well-formed or not.</param>
    /// <param name="margin">What further lines begin with.</param>
    public static string Hanging(string text, string margin) => string.Join(Environment.NewLine + margin, Lines(text));

    private static bool IsHidden(Rune rune) => Rune.GetUnicodeCategory(rune) switch
    {
        UnicodeCategory.Control or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator => true,
        UnicodeCategory.Format => rune.Value is not (ZeroWidthNonJoiner or ZeroWidthJoiner),
        _ => false,
    };

    private static void Escape(StringBuilder visible, ReadOnlySpan<char> text, int value)
    {
        if (value is '\n' or '\r' or '\t' or '\e')
            visible.Append(value switch { '\n' => @"\n", '\r' => @"\r", '\t' => @"\t", _ => @"\e" });
        else if (text.Length == 1)
            visible.Append(CultureInfo.InvariantCulture, $"\\u{value:X4}");
        else
            visible.Append(CultureInfo.InvariantCulture, $"\\U{value:X8}");
    }
}
