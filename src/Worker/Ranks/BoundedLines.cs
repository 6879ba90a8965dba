using System.Runtime.CompilerServices;

namespace MLDistributed.Worker.Ranks;

/// <summary>The lines of another process, of which none makes this one hold more than so much: a longer one comes in pieces.</summary>
internal static class BoundedLines
{
    /// <summary>The most characters of a piece.</summary>
    public const int MaxLength = 16 << 10;

    /// <summary>All lines but empty ones, until the end of the stream.</summary>
    public static async IAsyncEnumerable<string> ReadAsync(TextReader reader, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        var buffer = new char[MaxLength];
        var length = 0;
        while (await reader.ReadAsync(buffer.AsMemory(length), cancellation).ConfigureAwait(false) is > 0 and var read)
        {
            length += read;
            var start = 0;
            while (buffer.AsSpan(start, length - start).IndexOf('\n') is >= 0 and var end)
            {
                if (Line(buffer.AsSpan(start, end)) is { } line)
                    yield return line;
                start += end + 1;
            }

            if (start == 0 && length == buffer.Length)
            {
                yield return new string(buffer);
                start = length;
            }

            buffer.AsSpan(start, length - start).CopyTo(buffer);
            length -= start;
        }

        if (Line(buffer.AsSpan(0, length)) is { } last)
            yield return last;
    }

    private static string? Line(ReadOnlySpan<char> text) => text.TrimEnd('\r') is { Length: > 0 } line ? new string(line) : null;
}
