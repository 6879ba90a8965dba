using System.Text;

namespace Microsoft.ML.Distributed;

/// <summary>The pieces that texts are cut into: word pieces (WordPiece, as BERT has them), pairs of bytes (byte-level BPE, as RoBERTa has them), or those of a SentencePiece model of unigrams (as XLM-RoBERTa has them). A token's id is its place.</summary>
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
    private const byte SentencePieceFormat = 3;

    private TextVocabulary(IReadOnlyList<string> tokens, bool isLowerCase, BytePairs? pairs = null, SentencePieces? pieces = null)
    {
        (Tokens, IsLowerCase, Pairs, Pieces) = (tokens, isLowerCase, pairs, pieces);
        SeparatorId = IdOf(HasWordPieces ? Separator : BytePairs.Separator);
    }

    /// <summary>The tokens; word pieces that go on within a word begin with "##", of byte pairs those that begin one behind a space with "Ġ", of a SentencePiece model those that begin one with "▁".</summary>
    public IReadOnlyList<string> Tokens { get; }

    /// <summary>Whether texts are lower-cased, and accents taken off, before they are cut ("uncased").</summary>
    public bool IsLowerCase { get; }

    internal int SeparatorId { get; }

    /// <summary>What joins bytes; null: tokens are no pairs of them.</summary>
    internal BytePairs? Pairs { get; }

    /// <summary>The model of unigrams; null: there is none.</summary>
    internal SentencePieces? Pieces { get; }

    /// <summary>Whether tokens are word pieces, with BERT's special ones; else these are RoBERTa's.</summary>
    internal bool HasWordPieces => Pairs is null && Pieces is null;

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

    /// <summary>Reads a SentencePiece model of unigrams without fallback to bytes, as XLM-RoBERTa's. It says itself how texts are normalised.</summary>
    /// <param name="path">Often called sentencepiece.bpe.model or spiece.model.</param>
    /// <returns>The tokens "&lt;pad&gt;", "&lt;s&gt;", "&lt;/s&gt;", "&lt;unk&gt;", and the file's other pieces in its order.</returns>
    /// <exception cref="FormatException">It is no such model; says what is wrong.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static TextVocabulary FromSentencePiece(string path)
    {
        if (new FileInfo(path) is { Exists: true, Length: > MaxBytes } large)
            throw new FormatException($"\"{path}\" has {large.Length:N0} bytes, expected at most {MaxBytes:N0}, a SentencePiece model.");
        return Of(SentencePieces.Of(File.ReadAllBytes(path), $"\"{path}\""));
    }

    private static TextVocabulary Of(SentencePieces pieces) => new(pieces.Tokens, isLowerCase: false, pieces: pieces);

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
    // length-prefixed, UTF-8: a token a line; of byte pairs as many lines more, a pair a line; 3: a SentencePiece model, length-prefixed
    internal void Save(BinaryWriter writer)
    {
        if (Pieces is not null)
        {
            writer.Write(SentencePieceFormat);
            writer.Write(Pieces.File.Length);
            writer.Write(Pieces.File);
            return;
        }

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
        if (format == SentencePieceFormat)
            return Of(SentencePieces.Of(LoadBytes(reader), "The vocabulary"));
        var tokens = LoadLines(reader);
        return format == BytePairFormat ? new TextVocabulary(tokens, isLowerCase: false, BytePairs.Of(tokens, LoadLines(reader), "The vocabulary")) : FromTokens(tokens, format != 0);
    }

    private static string[] LoadLines(BinaryReader reader) => LoadBytes(reader) is { Length: > 0 } lines ? Encoding.UTF8.GetString(lines).Split('\n') : [];

    // A file of a few kilobytes can unpack to gigabytes.
    private static byte[] LoadBytes(BinaryReader reader) => reader.ReadInt32() is var length && length is < 0 or > MaxBytes || reader.ReadBytes(length) is var bytes && bytes.Length != length
        ? throw new FormatException($"its vocabulary has {length:N0} bytes")
        : bytes;

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
