using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;

namespace MLDistributed.Protocol;

/// <summary>The id of a job, an attempt, a worker or a request: says nothing, and is a safe part of a file name.</summary>
public sealed record OpaqueId
{
    private const int MaxLength = 100;

    private OpaqueId(string text) => Text = text;

    /// <summary>1 to 100 letters, digits, - and _.</summary>
    public string Text { get; }

    /// <summary>What a text must be to be one, after "expected".</summary>
    public const string Expectation = "1 to 100 letters, digits, - or _";

    /// <summary>A new one, which nobody can guess: 32 hexadecimal digits.</summary>
    public static OpaqueId New() => new(Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16)));

    /// <summary>Parses a text from outside.</summary>
    public static bool TryParse(string? text, [NotNullWhen(true)] out OpaqueId? id)
    {
        id = text is { Length: >= 1 and <= MaxLength } && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_') ? new OpaqueId(text) : null;
        return id is not null;
    }

    /// <summary>Parses a text that was checked before, as by <see cref="WireRules"/>.</summary>
    /// <exception cref="FormatException">It is no id.</exception>
    public static OpaqueId Parse(string text) =>
        TryParse(text, out var id) ? id : throw new FormatException($"Id is \"{VisibleText.Shortened(text)}\", expected {Expectation}.");

    /// <inheritdoc/>
    public override string ToString() => Text;
}
