namespace Microsoft.ML.Distributed;

/// <summary>Makes token ids of a text's words, which are what is between white space, in windows that an encoder takes.</summary>
/// <param name="tokenizer">Makes the ids.</param>
/// <param name="most">The most tokens of a window, the special ones included; at least 3.</param>
internal sealed class WordTokenizer(TextTokenizer tokenizer, int most)
{
    private const int SpecialTokens = 2;

    /// <summary>The most tokens of a window.</summary>
    public int MostTokens => most;

    /// <summary>The words of a text.</summary>
    public static IEnumerable<ReadOnlyMemory<char>> Words(ReadOnlyMemory<char> text)
    {
        var start = 0;
        for (var i = 0; i <= text.Length; i++)
        {
            if (i < text.Length && !char.IsWhiteSpace(text.Span[i]))
                continue;
            if (i > start)
                yield return text[start..i];
            start = i + 1;
        }
    }

    /// <summary>As many words to a window as it holds. A word that is longer than one loses its end.</summary>
    public IEnumerable<WordWindow> Windows(ReadOnlyMemory<char> text)
    {
        var (ids, places) = (new List<int>(), new List<int>());
        var isFirst = true;
        foreach (var word in Words(text))
        {
            var pieces = tokenizer.EncodeWord(word, isFirst, most - SpecialTokens);
            isFirst = false;
            if (ids.Count + pieces.Count > most - SpecialTokens)
            {
                yield return new WordWindow(tokenizer.Framed(ids), places);
                (ids, places) = ([], []);
            }

            places.Add(ids.Count + 1);
            ids.AddRange(pieces);
        }

        if (places.Count > 0)
            yield return new WordWindow(tokenizer.Framed(ids), places);
    }
}

/// <summary>Some words of a text.</summary>
/// <param name="Ids">Token ids, with the special ones.</param>
/// <param name="Places">Where in them each word begins.</param>
internal sealed record WordWindow(IReadOnlyList<int> Ids, IReadOnlyList<int> Places);
