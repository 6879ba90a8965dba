using System.Text;

namespace Microsoft.ML.Distributed;

/// <summary>The pieces that texts are cut into: word pieces (WordPiece, as BERT has them), or pairs of bytes (byte-level BPE, as RoBERTa has them). A token's id is its place.</summary>
public sealed class TextVocabulary
{
    internal const string Padding = "[PAD]";
    internal const string Unknown = "[UNK]";
    internal const string First = "[CLS]";
    internal const string Separator = "[SEP]";

    internal static readonly string[] Special = [Padding, Unknown, First, Separator];

    internal const int MaxTokens = 1_000_000;
    private const int MaxTokenLength = 500;
    internal const int MaxBytes = 64 << 20;
    private const byte BytePairFormat = 2;

    private TextVocabulary(IReadOnlyList<string> tokens, bool isLowerCase, BytePairs? pairs = null)
    {
        (Tokens, IsLowerCase, Pairs) = (tokens, isLowerCase, pairs);
        SeparatorId = IdOf(pairs is null ? Separator : BytePairs.Separator);
    }

    /// <summary>The tokens; word pieces that go on within a word begin with "##", of byte pairs those that begin one behind a space with "Ġ".</summary>
    public IReadOnlyList<string> Tokens { get; }

    /// <summary>Whether texts are lower-cased, and accents taken off, before they are cut ("uncased").</summary>
    public bool IsLowerCase { get; }

    internal int SeparatorId { get; }

    /// <summary>What joins bytes; null: tokens are word pieces.</summary>
    internal BytePairs? Pairs { get; }

    internal int IdOf(string token) => Tokens.ToList().IndexOf(token);

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

    /// <summary>Reads the two files of a byte-level BPE, as RoBERTa's: ids by token, with "&lt;s&gt;", "&lt;pad&gt;", "&lt;/s&gt;" and "&lt;unk&gt;", and the pairs that are joined, a pair a line, the first most urgent.</summary>
    /// <param name="vocabularyPath">Often called vocab.json.</param>
    /// <param name="mergesPath">Often called merges.txt.</param>
    /// <returns>The tokens in the order of their ids, but that padding, which is 0 here, has changed places with what is 0 there.</returns>
    /// <exception cref="FormatException">They are no such files; says what is missing.</exception>
    /// <exception cref="IOException">They cannot be read.</exception>
    public static TextVocabulary FromBytePairFiles(string vocabularyPath, string mergesPath)
    {
        var (tokens, pairs) = BytePairs.Read(vocabularyPath, mergesPath);
        return new TextVocabulary(tokens, isLowerCase: false, pairs);
    }

    /// <summary>A vocabulary of given tokens.</summary>
    /// <param name="tokens">"[PAD]" first, with "[UNK]", "[CLS]" and "[SEP]".</param>
    /// <param name="isLowerCase">Whether texts are lower-cased.</param>
    /// <exception cref="FormatException">One of these is missing, or a token is there twice.</exception>
    public static TextVocabulary FromTokens(IEnumerable<string> tokens, bool isLowerCase = true)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        return Checked([.. tokens], isLowerCase, "The vocabulary");
    }

    // byte: 0, 1: word pieces, 1 of texts that are lower-cased; 2: byte pairs
    // length-prefixed, UTF-8: a token a line; of byte pairs as many lines more, a pair a line
    internal void Save(BinaryWriter writer)
    {
        writer.Write(Pairs is not null ? BytePairFormat : (byte)(IsLowerCase ? 1 : 0));
        foreach (var lines in Pairs is null ? [Tokens] : (IReadOnlyList<string>[])[Tokens, Pairs.Merges])
        {
            var bytes = Encoding.UTF8.GetBytes(string.Join('\n', lines));
            writer.Write(bytes.Length);
            writer.Write(bytes);
        }
    }

    /// <exception cref="FormatException">It is not what was saved.</exception>
    internal static TextVocabulary Load(BinaryReader reader)
    {
        var format = reader.ReadByte();
        var tokens = LoadLines(reader);
        return format == BytePairFormat ? new TextVocabulary(tokens, isLowerCase: false, BytePairs.Of(tokens, LoadLines(reader), "The vocabulary")) : FromTokens(tokens, format != 0);
    }

    private static string[] LoadLines(BinaryReader reader)
    {
        // A file of a few kilobytes can unpack to gigabytes.
        if (reader.ReadInt32() is var bytes && bytes is < 0 or > MaxBytes || reader.ReadBytes(bytes) is var lines && lines.Length != bytes)
            throw new FormatException($"its vocabulary has {bytes:N0} bytes");
        return lines.Length == 0 ? [] : Encoding.UTF8.GetString(lines).Split('\n');
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
