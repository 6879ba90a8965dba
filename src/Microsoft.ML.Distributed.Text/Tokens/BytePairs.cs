using System.Text;
using System.Text.Json;
using Microsoft.ML.Tokenizers;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// A byte-level BPE (Radford et al. 2019; RoBERTa, Liu et al. 2019): a text's bytes are joined pair by pair, so that every text has
/// tokens. "&lt;s&gt; a &lt;/s&gt;" is a text, "&lt;s&gt; a &lt;/s&gt;&lt;/s&gt; b &lt;/s&gt;" a pair.
/// </summary>
internal sealed class BytePairs
{
    public const string First = "<s>";
    public const string Padding = "<pad>";
    public const string Separator = "</s>";
    public const string Unknown = "<unk>";

    private const string Remedy = "Take the vocab.json and merges.txt of a model of RoBERTa's kind.";
    private static readonly string[] s_special = [First, Padding, Separator, Unknown];

    private BytePairs(IReadOnlyList<string> merges) => Merges = merges;

    /// <summary>The pairs, "a b", the most urgent first.</summary>
    public IReadOnlyList<string> Merges { get; }

    /// <summary>Reads both files.</summary>
    /// <returns>The tokens by our ids, of which padding is 0.</returns>
    public static (IReadOnlyList<string> Tokens, BytePairs Pairs) Read(string vocabularyPath, string mergesPath)
    {
        var tokens = ReadTokens(vocabularyPath);
        var padding = Array.IndexOf(tokens, Padding);
        if (padding >= 0)
            Swap(tokens, padding);
        var merges = Encoding.UTF8.GetString(Bytes(mergesPath)).Split('\n').Select(l => l.TrimEnd('\r')).Where((l, i) => l.Length > 0 && !(i == 0 && l.StartsWith("#version", StringComparison.Ordinal)));
        return (tokens, Of(tokens, [.. merges], $"\"{vocabularyPath}\""));
    }

    /// <summary>Changes places with what is first.</summary>
    public static void Swap<T>(T[] values, int other) => (values[0], values[other]) = (values[other], values[0]);

    /// <summary>Pairs of tokens.</summary>
    /// <exception cref="FormatException">They are of others, or a special token is missing.</exception>
    public static BytePairs Of(IReadOnlyList<string> tokens, IReadOnlyList<string> merges, string name)
    {
        var known = tokens.ToHashSet(StringComparer.Ordinal);
        var missing = s_special.Where(s => !known.Contains(s)).ToList();
        if (missing.Count > 0 || tokens[0] != Padding)
            throw new FormatException($"{name} has no {(missing.Count > 0 ? string.Join(", ", missing) : $"{Padding} as its first")}, expected {string.Join(", ", s_special)}. {Remedy}");
        if (known.Count != tokens.Count || tokens.Count > TextVocabulary.MaxTokens)
            throw new FormatException($"{name} has a token twice, or more than {TextVocabulary.MaxTokens:N0}, expected each once. {Remedy}");
        var stray = merges.FirstOrDefault(m => m.Split(' ') is not [{ Length: > 0 } left, { Length: > 0 } right] || !known.Contains(left) || !known.Contains(right) || !known.Contains(left + right));
        return stray is null ? new BytePairs(merges) : throw new FormatException($"{name} has no tokens for the pair \"{VisibleText.Shortened(stray)}\", expected both and what they are joined to. {Remedy}");
    }

    /// <summary>Makes ids of texts, without special tokens.</summary>
    public BpeTokenizer Create(IReadOnlyList<string> tokens) => BpeTokenizer.Create(new BpeOptions(tokens.Select((token, id) => KeyValuePair.Create(token, id)))
    {
        Merges = Merges,
        ByteLevel = true,
        PreTokenizer = RobertaPreTokenizer.Instance,
        UnknownToken = Unknown,
    });

    private static string[] ReadTokens(string path)
    {
        try
        {
            using var document = JsonDocument.Parse(Bytes(path));
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new FormatException($"\"{path}\" is no object of JSON, expected ids by token. {Remedy}");
            var ids = document.RootElement.EnumerateObject().ToList();
            var tokens = new string[ids.Count];
            foreach (var entry in ids)
            {
                if (entry.Value.ValueKind != JsonValueKind.Number || !entry.Value.TryGetInt32(out var id) || id < 0 || id >= tokens.Length || tokens[id] is not null || entry.Name.AsSpan().ContainsAny('\n', '\r'))
                    throw new FormatException($"\"{path}\" has \"{VisibleText.Shortened(entry.Name)}\" with {VisibleText.Shortened(entry.Value.GetRawText())}, expected each id from 0 to {tokens.Length - 1:N0} once. {Remedy}");
                tokens[id] = entry.Name;
            }

            return tokens;
        }
        catch (JsonException e)
        {
            throw new FormatException($"\"{path}\" is no JSON ({e.Message.TrimEnd('.')}), expected ids by token. {Remedy}", e);
        }
    }

    private static byte[] Bytes(string path) => new FileInfo(path) is { Exists: true, Length: > TextVocabulary.MaxBytes } large
        ? throw new FormatException($"\"{path}\" has {large.Length:N0} bytes, expected at most {TextVocabulary.MaxBytes:N0}. {Remedy}")
        : File.ReadAllBytes(path);
}
