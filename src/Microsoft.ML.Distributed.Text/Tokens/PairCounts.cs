using System.Runtime.InteropServices;

namespace Microsoft.ML.Distributed;

/// <summary>How often each two pieces are neighbours in words, kept while pieces are joined.</summary>
internal sealed class PairCounts
{
    private readonly (List<string> Pieces, long Count)[] _words;
    private readonly Dictionary<(string Left, string Right), long> _counts = [];
    private readonly Dictionary<(string Left, string Right), HashSet<int>> _places = [];

    // Counts only fall but for new pairs: an entry that is no longer right is put back when it is met.
    private readonly PriorityQueue<(string Left, string Right), (long NegatedCount, string Left, string Right)> _queue = new(new ByCount());

    public PairCounts((List<string> Pieces, long Count)[] words)
    {
        _words = words;
        for (var i = 0; i < words.Length; i++)
            for (var j = 0; j + 1 < words[i].Pieces.Count; j++)
                Change((words[i].Pieces[j], words[i].Pieces[j + 1]), words[i].Count, i);
        foreach (var (pair, count) in _counts)
            _queue.Enqueue(pair, (-count, pair.Left, pair.Right));
    }

    /// <summary>The pair that is most frequent, of several the first by its letters; null: there is none.</summary>
    public (string Left, string Right, long Count)? MostFrequent()
    {
        while (_queue.TryDequeue(out var pair, out var priority))
        {
            var count = _counts.GetValueOrDefault(pair);
            if (count == -priority.NegatedCount && count > 0)
                return (pair.Left, pair.Right, count);
            if (count > 0)
                _queue.Enqueue(pair, (-count, pair.Left, pair.Right));
        }

        return null;
    }

    /// <summary>Makes one piece of two, wherever they are neighbours.</summary>
    public void Join(string left, string right, string joined)
    {
        if (!_places.Remove((left, right), out var places))
            return;
        var changed = new HashSet<(string, string)>();
        foreach (var index in places)
        {
            var (pieces, count) = _words[index];
            for (var i = 0; i + 1 < pieces.Count; i++)
                Change((pieces[i], pieces[i + 1]), -count, index);
            for (var i = 0; i + 1 < pieces.Count; i++)
            {
                if (pieces[i] != left || pieces[i + 1] != right)
                    continue;
                pieces[i] = joined;
                pieces.RemoveAt(i + 1);
            }

            for (var i = 0; i + 1 < pieces.Count; i++)
            {
                Change((pieces[i], pieces[i + 1]), count, index);
                changed.Add((pieces[i], pieces[i + 1]));
            }
        }

        foreach (var pair in changed)
            _queue.Enqueue(pair, (-_counts[pair], pair.Item1, pair.Item2));
    }

    private void Change((string, string) pair, long by, int word)
    {
        CollectionsMarshal.GetValueRefOrAddDefault(_counts, pair, out _) += by;
        if (by < 0)
            return;
        ref var places = ref CollectionsMarshal.GetValueRefOrAddDefault(_places, pair, out _);
        (places ??= []).Add(word);
    }

    private sealed class ByCount : IComparer<(long NegatedCount, string Left, string Right)>
    {
        public int Compare((long NegatedCount, string Left, string Right) x, (long NegatedCount, string Left, string Right) y)
        {
            var byCount = x.NegatedCount.CompareTo(y.NegatedCount);
            if (byCount != 0)
                return byCount;
            var byLeft = string.CompareOrdinal(x.Left, y.Left);
            return byLeft != 0 ? byLeft : string.CompareOrdinal(x.Right, y.Right);
        }
    }
}
