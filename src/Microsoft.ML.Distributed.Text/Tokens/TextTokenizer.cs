using System.Text;
using Microsoft.ML.Tokenizers;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Makes token ids of texts: [CLS] a [SEP], or [CLS] a [SEP] b [SEP]; of byte pairs as <see cref="BytePairs"/> says. What is too long is cut at its end, of two texts the longer one
/// first. Missing and empty texts are texts without tokens; what the vocabulary does not know is [UNK].
/// </summary>
/// <param name="vocabulary">The tokens.</param>
internal sealed class TextTokenizer(TextVocabulary vocabulary)
{
    // Of a text that is cut in any case, no more need be looked at: words are shorter.
    private const int CharactersPerToken = 64;
    private const string Mask = "[MASK]";
    private readonly BpeTokenizer? _bytes = vocabulary.Pairs?.Create(vocabulary.Tokens);
    private readonly BertTokenizer? _tokenizer = vocabulary.HasWordPieces ? Create(vocabulary) : null;
    private readonly SentencePieceTokenizer? _pieces = vocabulary.Pieces?.Create();
    private readonly int _first = vocabulary.IdOf(vocabulary.HasWordPieces ? TextVocabulary.First : BytePairs.First);
    private readonly int _separator = vocabulary.SeparatorId;
    private readonly int _unknown = vocabulary.IdOf(vocabulary.HasWordPieces ? TextVocabulary.Unknown : BytePairs.Unknown);
    private readonly int[] _between = [.. Enumerable.Repeat(vocabulary.SeparatorId, vocabulary.HasWordPieces ? 0 : 1)];

    /// <summary>The ids of a row.</summary>
    /// <param name="text">The first text.</param>
    /// <param name="other">The second; null: there is none.</param>
    /// <param name="most">The most tokens, the special ones included; at least 3.</param>
    public List<int> Encode(ReadOnlyMemory<char> text, ReadOnlyMemory<char>? other, int most)
    {
        var (a, b) = (Pieces(text, most), other is { } second ? Pieces(second, most) : []);
        var room = Math.Max(0, most - (other is null ? 2 : 3 + _between.Length));
        while (a.Count + b.Count > room)
        {
            var longer = a.Count >= b.Count ? a : b;
            longer.RemoveRange(longer.Count - 1, 1);
        }

        var ids = Framed(a);
        if (other is not null)
            ids.AddRange([.. _between, .. b, _separator]);
        // Of a pair that has room for no more than its marks, some of these.
        return ids.Count <= most ? ids : ids[..most];
    }

    /// <summary>The ids of a word, without special tokens. What has no pieces, as a word of control characters, is [UNK].</summary>
    /// <param name="word">It has no white space.</param>
    /// <param name="isFirst">Whether it is its text's first: others have a space before them, which byte pairs know, and SentencePiece where it does not put one before each text.</param>
    /// <param name="most">The most ids, from 1.</param>
    public List<int> EncodeWord(ReadOnlyMemory<char> word, bool isFirst, int most) => Pieces(isFirst || vocabulary.HasWordPieces || _pieces is { AddDummyPrefix: true } ? word : $" {word}".AsMemory(), most) is { Count: > 0 } pieces ? pieces : [_unknown];

    /// <summary>Ids with the special tokens around them.</summary>
    public List<int> Framed(IEnumerable<int> ids) => [_first, .. ids, _separator];

    /// <summary>A text's words and marks, as they are before they are cut into word pieces.</summary>
    public IEnumerable<string> Words(ReadOnlyMemory<char> text)
    {
        var folded = Folded(text.Span);
        var normal = _tokenizer!.Normalizer?.Normalize(folded) ?? folded;
        return _tokenizer.PreTokenizer?.PreTokenize(normal).Select(p => normal.Substring(p.Offset, p.Length)) ?? [normal];
    }

    private string Folded(ReadOnlySpan<char> text) => vocabulary.IsLowerCase ? TextFolding.Fold(text) : text.ToString();

    private static BertTokenizer Create(TextVocabulary vocabulary)
    {
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes(string.Join('\n', vocabulary.Tokens)));
        // Special tokens within a text are its words: a text makes no separators.
        return BertTokenizer.Create(stream, new BertOptions
        {
            LowerCaseBeforeTokenization = vocabulary.IsLowerCase,
            RemoveNonSpacingMarks = false, // done before, in apps without ICU too
            SplitOnSpecialTokens = false,
            MaskingToken = vocabulary.Tokens.Contains(Mask, StringComparer.Ordinal) ? Mask : TextVocabulary.Unknown, // asked for, and not used
        });
    }

    private List<int> Pieces(ReadOnlyMemory<char> text, int most)
    {
        if (text.IsEmpty)
            return [];
        var looked = text.Length <= (long)most * CharactersPerToken ? text : text[..(most * CharactersPerToken)];
        var folded = Folded(looked.Span);
        if (_pieces is not null)
            return [.. vocabulary.Pieces!.ToIds(_pieces.EncodeToIds(folded, addBeginningOfSentence: false, addEndOfSentence: false)).Take(most)];
        return [.. (_bytes?.EncodeToIds(folded) ?? _tokenizer!.EncodeToIds(folded, addSpecialTokens: false)).Take(most)];
    }
}
