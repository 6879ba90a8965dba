using System.Runtime.InteropServices;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Learns a WordPiece vocabulary of texts: counts words in one pass, then joins the pair of pieces that is most frequent, again and
/// again (Sennrich et al., arXiv:1508.07909), until there are as many pieces as wanted.
/// </summary>
internal sealed class VocabularyLearning(int size)
{
    private const int MaxWordLength = 50;
    private const int LeastPairs = 2;

    // So many rare words are forgotten when they are more: memory is bounded, whatever the texts.
    private const int MaxWords = 1_000_000;
    private const string Continued = "##";

    private Dictionary<string, long> _words = new(StringComparer.Ordinal);

    /// <summary>Counts a text's words.</summary>
    public void Add(IEnumerable<string> words)
    {
        foreach (var word in words)
            if (word.Length <= MaxWordLength)
                CollectionsMarshal.GetValueRefOrAddDefault(_words, word, out _)++;
        if (_words.Count > MaxWords)
            _words = _words.OrderByDescending(w => w.Value).ThenBy(w => w.Key, StringComparer.Ordinal).Take(MaxWords / 2).ToDictionary(w => w.Key, w => w.Value, StringComparer.Ordinal);
    }

    /// <summary>The vocabulary. The same texts make the same one.</summary>
    public TextVocabulary Complete()
    {
        var words = _words.OrderBy(w => w.Key, StringComparer.Ordinal).Select(w => (Pieces: Letters(w.Key), Count: w.Value)).ToArray();
        List<string> tokens = [.. TextVocabulary.Special];
        // Each letter begins words and goes on in them, whatever these texts do.
        var letters = words.SelectMany(w => w.Pieces.Select((p, i) => (Letter: i == 0 ? p : p[Continued.Length..], w.Count))).GroupBy(p => p.Letter, StringComparer.Ordinal)
            .Select(g => (g.Key, Count: g.Sum(p => p.Count))).OrderByDescending(g => g.Count).ThenBy(g => g.Key, StringComparer.Ordinal);
        tokens.AddRange(letters.SelectMany(g => new[] { g.Key, Continued + g.Key }).Take(Math.Max(0, size - tokens.Count)));
        var known = new HashSet<string>(tokens, StringComparer.Ordinal);
        var pairs = new PairCounts(words);
        while (tokens.Count < size && pairs.MostFrequent() is { } best && best.Count >= LeastPairs)
        {
            var joined = best.Left + best.Right[Continued.Length..];
            pairs.Join(best.Left, best.Right, joined);
            if (known.Add(joined))
                tokens.Add(joined);
        }

        return TextVocabulary.FromTokens(tokens);
    }

    private static List<string> Letters(string word)
    {
        var pieces = new List<string>();
        for (var i = 0; i < word.Length;)
        {
            var length = char.IsSurrogatePair(word, i) ? 2 : 1;
            pieces.Add(i == 0 ? word[..length] : Continued + word.Substring(i, length));
            i += length;
        }

        return pieces;
    }
}
