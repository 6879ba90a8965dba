using System.Text;

namespace Microsoft.ML.Distributed;

/// <summary>The word pieces (WordPiece, as BERT has them) that texts are cut into. A token's id is its place.</summary>
public sealed class TextVocabulary
{
    internal const string Padding = "[PAD]";
    internal const string Unknown = "[UNK]";
    internal const string First = "[CLS]";
    internal const string Separator = "[SEP]";

    internal static readonly string[] Special = [Padding, Unknown, First, Separator];

    private const int MaxTokens = 1_000_000;
    private const int MaxTokenLength = 500;
    private const int MaxBytes = 64 << 20;

    private TextVocabulary(IReadOnlyList<string> tokens, bool isLowerCase)
    {
        (Tokens, IsLowerCase) = (tokens, isLowerCase);
        SeparatorId = tokens.ToList().IndexOf(Separator);
    }

    /// <summary>The tokens; those that go on within a word begin with "##".</summary>
    public IReadOnlyList<string> Tokens { get; }

    /// <summary>Whether texts are lower-cased, and accents taken off, before they are cut ("uncased").</summary>
    public bool IsLowerCase { get; }

    internal int SeparatorId { get; }

    /// <summary>Reads a vocabulary file as BERT's: a token a line, "[PAD]" first, with "[UNK]", "[CLS]" and "[SEP]".</summary>
    /// <param name="path">The file, often called vocab.txt.</param>
    /// <param name="isLowerCase">Whether texts are lower-cased, as for an uncased model.</param>
    /// <exception cref="FormatException">It is no such file; says what is missing.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static TextVocabulary FromFile(string path, bool isLowerCase = true)
    {
        using var stream = File.OpenRead(path);
        return Read(stream, isLowerCase, $"\"{path}\"");
    }

    /// <summary>Reads a vocabulary as <see cref="FromFile"/> does.</summary>
    /// <param name="stream">The text, UTF-8; it stays open.</param>
    /// <param name="isLowerCase">Whether texts are lower-cased, as for an uncased model.</param>
    /// <exception cref="FormatException">It is no such text; says what is missing.</exception>
    public static TextVocabulary FromStream(Stream stream, bool isLowerCase = true) => Read(stream, isLowerCase, "The vocabulary");

    /// <summary>A vocabulary of given tokens.</summary>
    /// <param name="tokens">"[PAD]" first, with "[UNK]", "[CLS]" and "[SEP]".</param>
    /// <param name="isLowerCase">Whether texts are lower-cased.</param>
    /// <exception cref="FormatException">One of these is missing, or a token is there twice.</exception>
    public static TextVocabulary FromTokens(IEnumerable<string> tokens, bool isLowerCase = true)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        return Checked([.. tokens], isLowerCase, "The vocabulary");
    }

    // bool: whether texts are lower-cased; length-prefixed, UTF-8: a token a line
    internal void Save(BinaryWriter writer)
    {
        writer.Write(IsLowerCase);
        var tokens = Encoding.UTF8.GetBytes(string.Join('\n', Tokens));
        writer.Write(tokens.Length);
        writer.Write(tokens);
    }

    /// <exception cref="FormatException">It is not what was saved.</exception>
    internal static TextVocabulary Load(BinaryReader reader)
    {
        var (isLowerCase, bytes) = (reader.ReadBoolean(), reader.ReadInt32());
        // A file of a few kilobytes can unpack to gigabytes.
        if (bytes is < 0 or > MaxBytes || reader.ReadBytes(bytes) is var tokens && tokens.Length != bytes)
            throw new FormatException($"its vocabulary has {bytes:N0} bytes");
        return FromTokens(Encoding.UTF8.GetString(tokens).Split('\n'), isLowerCase);
    }

    private static TextVocabulary Read(Stream stream, bool isLowerCase, string name)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using var reader = new StreamReader(stream, leaveOpen: true);
        var tokens = new List<string>();
        var bytes = 0L;
        while (reader.ReadLine() is { } line)
        {
            if ((bytes += line.Length) > MaxBytes || tokens.Count > MaxTokens)
                break;
            tokens.Add(line.TrimEnd('\r'));
        }

        while (tokens is [.., ""])
            tokens.RemoveAt(tokens.Count - 1);
        return Checked(tokens, isLowerCase, name);
    }

    private static TextVocabulary Checked(List<string> tokens, bool isLowerCase, string name)
    {
        const string remedy = "Take the vocab.txt of a BERT model, or none, so that one is learnt of the data.";
        if (tokens.Count > MaxTokens || tokens.Exists(t => t.Length > MaxTokenLength || t.Contains('\n')))
            throw new FormatException($"{name} has more than {MaxTokens:N0} tokens, or one longer than {MaxTokenLength} characters, expected a token a line. {remedy}");
        var missing = Special.Where(s => !tokens.Contains(s)).ToList();
        if (missing.Count > 0 || tokens[0] != Padding)
            throw new FormatException($"{name} {(missing.Count > 0 ? $"has no {string.Join(", ", missing)}" : $"begins with \"{tokens[0]}\"")}, expected \"{Padding}\" on the first line and {string.Join(", ", Special.Skip(1))} on others. {remedy}");
        if (tokens.GroupBy(t => t, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1) is { } twice)
            throw new FormatException($"{name} has the token \"{twice.Key}\" {twice.Count()} times, expected each once. {remedy}");
        return new TextVocabulary(tokens, isLowerCase);
    }
}
