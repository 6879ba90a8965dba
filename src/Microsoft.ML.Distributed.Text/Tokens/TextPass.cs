using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed;

/// <summary>Passes over the training texts.</summary>
internal sealed class TextPass(IDataView data, string text, string? other, CancellationToken cancellation)
{
    /// <summary>Learns a vocabulary of them.</summary>
    /// <param name="size">The most tokens.</param>
    public TextVocabulary Learn(int size)
    {
        // Splits and lower-cases as the one to come.
        var words = new TextTokenizer(TextVocabulary.FromTokens(TextVocabulary.Special));
        var learning = new VocabularyLearning(size);
        Visit((a, b) =>
        {
            learning.Add(words.Words(a));
            if (b is { } second)
                learning.Add(words.Words(second));
        });
        return learning.Complete();
    }

    /// <summary>The tokens of the longest row.</summary>
    /// <param name="tokenizer">Makes them.</param>
    /// <param name="most">When they are so many, no more is looked at.</param>
    public int Longest(TextTokenizer tokenizer, int most)
    {
        var longest = 0;
        Visit((a, b) => longest = longest >= most ? longest : Math.Max(longest, tokenizer.Encode(a, b, most).Count));
        return longest;
    }

    private void Visit(Action<ReadOnlyMemory<char>, ReadOnlyMemory<char>?> visit)
    {
        var columns = new[] { text, other }.OfType<string>().Distinct(StringComparer.Ordinal).Select(name => data.Schema[name]).ToArray();
        using var cursor = data.GetRowCursor(columns);
        var getText = cursor.GetGetter<ReadOnlyMemory<char>>(columns[0]);
        var getOther = other is null ? null : cursor.GetGetter<ReadOnlyMemory<char>>(columns[^1]);
        ReadOnlyMemory<char> a = default, b = default;
        while (cursor.MoveNext())
        {
            cancellation.ThrowIfCancellationRequested();
            getText(ref a);
            getOther?.Invoke(ref b);
            visit(a, getOther is null ? null : b);
        }
    }
}
