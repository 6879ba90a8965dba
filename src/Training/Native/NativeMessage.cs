using System.Globalization;
using System.Text.RegularExpressions;

namespace MLDistributed.Training.Native;

/// <summary>What libtorch says when it fails: one sentence for people, then the C++ stack for the log.</summary>
public static partial class NativeMessage
{
    private const double GiB = 1 << 30;

    /// <summary>Whether a C++ stack follows the sentence.</summary>
    public static bool HasStack(string message) => message.Split('\n').Any(IsStack);

    /// <summary>Whether a line is of a C++ stack, or announces one.</summary>
    public static bool IsStack(string line) =>
        line.TrimStart() is var words && (words.StartsWith("frame #", StringComparison.Ordinal) || words.StartsWith("Exception raised from ", StringComparison.Ordinal) || words.StartsWith("C++ CapturedTraceback", StringComparison.Ordinal));

    /// <summary>Whether memory was asked for that there is not, of the host or of a GPU.</summary>
    public static bool IsOutOfMemory(string message) =>
        message.Contains("allocate memory", StringComparison.Ordinal) || message.Contains("not enough memory", StringComparison.Ordinal) || message.Contains("out of memory", StringComparison.Ordinal);

    /// <summary>The sentence without the stack, the place in the source and the macro's condition.</summary>
    public static string FirstSentence(string message)
    {
        if (TriedToAllocate().Match(message) is { Success: true } tried)
            return $"libtorch could not allocate {long.Parse(tried.Groups["bytes"].Value, CultureInfo.InvariantCulture) / GiB:N1} GiB at once";
        foreach (var line in message.Split('\n'))
        {
            if (Origin().Replace(line, "").Trim() is { Length: > 0 } words && !IsStack(words))
                return words;
        }

        return "libtorch gave no reason";
    }

    [GeneratedRegex(@"tried to allocate (?<bytes>\d{1,18}) bytes", RegexOptions.ExplicitCapture | RegexOptions.NonBacktracking)]
    private static partial Regex TriedToAllocate();

    // "what():  [enforce fail at alloc_cpu.cpp:119] err == 0. The words"
    [GeneratedRegex(@"^\s*(what\(\):)?\s*(\[enforce fail at [^\]]*\][^.]*\.)?\s*", RegexOptions.ExplicitCapture | RegexOptions.NonBacktracking)]
    private static partial Regex Origin();
}
