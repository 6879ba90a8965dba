using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;

namespace MLDistributed.Protocol;

/// <summary>The id of a dataset, model or checkpoint: the SHA-256 of its content. What is one is a safe file name too.</summary>
public sealed record ContentHash
{
    private const int Digits = 64;

    private ContentHash(string text) => Text = text;

    /// <summary>64 lower-case hexadecimal digits.</summary>
    public string Text { get; }

    /// <summary>What a text must be to be one, after "expected".</summary>
    public const string Expectation = "64 lower-case hexadecimal digits";

    /// <summary>Parses a text from outside.</summary>
    public static bool TryParse(string? text, [NotNullWhen(true)] out ContentHash? hash)
    {
        hash = text is { Length: Digits } && text.All(char.IsAsciiHexDigitLower) ? new ContentHash(text) : null;
        return hash is not null;
    }

    /// <summary>Parses a text that was checked before, as by <see cref="WireRules"/>.</summary>
    /// <exception cref="FormatException">It is no hash.</exception>
    public static ContentHash Parse(string text) =>
        TryParse(text, out var hash) ? hash : throw new FormatException($"Id is \"{VisibleText.Shortened(text)}\", expected {Expectation}.");

    /// <summary>The id that a finished SHA-256 is.</summary>
    /// <param name="digest">Its 32 bytes.</param>
    public static ContentHash OfDigest(ReadOnlySpan<byte> digest) => Parse(Convert.ToHexStringLower(digest));

    /// <summary>The id of a file's content, as of a model or checkpoint; that of a dataset is its rows'.</summary>
    /// <param name="path">The file.</param>
    /// <param name="cancellation">Ends the reading.</param>
    public static async Task<ContentHash> OfFileAsync(string path, CancellationToken cancellation)
    {
        var file = File.OpenRead(path);
        await using var closing = file.ConfigureAwait(false);
        return OfDigest(await SHA256.HashDataAsync(file, cancellation).ConfigureAwait(false));
    }

    /// <inheritdoc/>
    public override string ToString() => Text;
}
