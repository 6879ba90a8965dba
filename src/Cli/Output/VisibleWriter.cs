using System.Text;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Output;

/// <summary>
/// What all that mldist writes goes through: nothing that moves a cursor, hides or turns text around passes, whoever wrote it
/// and whatever they forgot. Ends of lines do, and colours.
/// </summary>
internal sealed class VisibleWriter(TextWriter output) : TextWriter(output.FormatProvider)
{
    private const int MaxColour = 16;
    private char? _half;

    public override Encoding Encoding => output.Encoding;

    public override void Write(char value)
    {
        if (_half is { } high)
        {
            _half = null;
            Write([high, value]);
        }
        else if (char.IsHighSurrogate(value))
            _half = value;
        else
            Write([value]);
    }

    public override void Write(char[] buffer, int index, int count) => Write(buffer.AsSpan(index, count));

    public override void Write(string? value) => Write(value.AsSpan());

    public override void Write(ReadOnlySpan<char> buffer)
    {
        while (!buffer.IsEmpty)
        {
            var passing = Passing(buffer);
            output.Write(buffer[..passing]);
            buffer = buffer[passing..];
            var text = 0;
            while (text < buffer.Length && Passing(buffer[text..]) == 0)
                text++;
            WriteVisible(buffer[..text]);
            buffer = buffer[text..];
        }
    }

    public override void WriteLine(string? value) => Write(value + Environment.NewLine);

    public override void Flush() => output.Flush();

    private void WriteVisible(ReadOnlySpan<char> text)
    {
        if (text.IndexOfAnyExceptInRange(' ', '~') < 0)
            output.Write(text);
        else
            output.Write(VisibleText.Of(text.ToString()));
    }

    // How much at the front is the end of a line, or Select Graphic Rendition (ECMA-48), alone of what begins with an escape.
    private static int Passing(ReadOnlySpan<char> text)
    {
        if (text[0] == '\n')
            return 1;
        if (text.StartsWith("\r\n", StringComparison.Ordinal))
            return 2;
        if (!text.StartsWith("\e[", StringComparison.Ordinal))
            return 0;
        var end = text[2..].IndexOfAnyExcept("0123456789;");
        return end is >= 0 and <= MaxColour && text[2 + end] == 'm' ? 2 + end + 1 : 0;
    }
}
