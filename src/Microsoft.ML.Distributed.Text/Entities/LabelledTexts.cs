using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed;

/// <summary>A pass over texts whose words are labelled.</summary>
/// <param name="data">The rows.</param>
/// <param name="text">The column of texts.</param>
/// <param name="label">The column of their labels, a vector of keys.</param>
/// <param name="subject">What the data is called before its columns: "Label", "Validation set: label".</param>
/// <param name="cancellation">Stops it between two rows.</param>
internal sealed class LabelledTexts(IDataView data, string text, string label, string subject, CancellationToken cancellation)
{
    /// <summary>Counts labels, and looks whether each word has one.</summary>
    /// <param name="tokenizer">Makes the windows, of which the first is trained on.</param>
    /// <exception cref="InvalidDataException">A row has another number of labels than of words, or a key that is none; the message names it.</exception>
    public LabelledTextStatistics Count(WordTokenizer tokenizer)
    {
        var (textColumn, labelColumn) = (data.Schema[text], data.Schema[label]);
        var counts = new long[((KeyDataViewType)((VectorDataViewType)labelColumn.Type).ItemType).GetCountAsInt32() + 1];
        var (longest, cut) = (0, 0L);
        using var cursor = data.GetRowCursor(textColumn, labelColumn);
        var (getText, getLabels) = (cursor.GetGetter<ReadOnlyMemory<char>>(textColumn), cursor.GetGetter<VBuffer<uint>>(labelColumn));
        ReadOnlyMemory<char> words = default;
        VBuffer<uint> labels = default;
        for (var row = 0L; cursor.MoveNext(); row++)
        {
            cancellation.ThrowIfCancellationRequested();
            getText(ref words);
            getLabels(ref labels);
            var count = WordTokenizer.Words(words).Count();
            if (count != labels.Length)
                throw new InvalidDataException($"{subject} column \"{label}\" has {labels.Length:N0} labels at row {row:N0}, expected {count:N0}, one for each word of column \"{text}\": words are what is between white space. Fix the source or drop the row.");
            var window = tokenizer.Windows(words).FirstOrDefault();
            longest = Math.Max(longest, window?.Ids.Count ?? 0);
            cut += count - (window?.Places.Count ?? 0);
            foreach (var key in labels.DenseValues().Take(window?.Places.Count ?? 0))
                counts[key < counts.Length ? key : throw new InvalidDataException($"{subject} column \"{label}\" has the key {key} at row {row:N0}, expected at most {counts.Length - 1}, the number of classes. Map the labels anew, or drop the row.")]++;
        }

        return new LabelledTextStatistics(counts, longest, cut);
    }
}

/// <summary>What a pass over labelled texts gives.</summary>
/// <param name="Counts">Words of the missing key, and of each key.</param>
/// <param name="Longest">Tokens of the longest row.</param>
/// <param name="Cut">Words behind the first window of their row.</param>
internal sealed record LabelledTextStatistics(IReadOnlyList<long> Counts, int Longest, long Cut);
