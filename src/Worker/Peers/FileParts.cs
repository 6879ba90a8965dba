using System.Globalization;

namespace MLDistributed.Worker.Peers;

/// <summary>Who gave bytes.</summary>
internal enum PartOrigin
{
    /// <summary>An agent before this one, or another attempt; nobody knows any more.</summary>
    Before,

    /// <summary>Another worker of the attempt.</summary>
    Peer,

    /// <summary>The coordinator.</summary>
    Coordinator,
}

/// <summary>Bytes from one position to another, that excluded.</summary>
internal readonly record struct FileRange(long Start, long End)
{
    public long Length => End - Start;
}

/// <summary>Which bytes of a file are here. Knows no disk.</summary>
/// <param name="total">How many the file has.</param>
internal sealed class FileParts(long total)
{
    private readonly List<(FileRange Range, PartOrigin Origin)> _parts = []; // in order, none over another

    public long Total => total;

    /// <summary>How many bytes are here.</summary>
    public long Count => _parts.Sum(p => p.Range.Length);

    public bool IsWhole => Count == total;

    /// <summary>Behind the last byte that is here.</summary>
    public long End => _parts.Count > 0 ? _parts[^1].Range.End : 0;

    /// <summary>The part of a file that one of several workers takes from the coordinator, and the others from it.</summary>
    /// <param name="total">The file's bytes.</param>
    /// <param name="place">Which one, from 0.</param>
    /// <param name="count">How many there are.</param>
    public static FileRange Share(long total, int place, int count) => new((long)((Int128)total * place / count), (long)((Int128)total * (place + 1) / count));

    /// <summary>What <see cref="ToString"/> wrote; null: it is something else, or of a file of another size.</summary>
    public static FileParts? Read(string text, long total)
    {
        var words = text.Split(' ', '\n');
        var parts = new FileParts(total);
        if (words[0] != total.ToString(CultureInfo.InvariantCulture))
            return null;
        var last = 0L;
        foreach (var word in words.Skip(1).Where(w => w.Length > 0))
        {
            if (word.Split('-') is not [var from, var to] || !TryParse(from, out var start) || !TryParse(to, out var end) || start < last || end <= start || end > total)
                return null;
            parts.Add(new FileRange(start, last = end), PartOrigin.Before);
        }

        return parts;
    }

    /// <summary>Bytes have come, none of which was here.</summary>
    public void Add(FileRange range, PartOrigin origin)
    {
        var at = _parts.FindLastIndex(p => p.Range.Start < range.End) + 1;
        var before = at > 0 ? _parts[at - 1] : default;
        if (range.Start < 0 || range.End > total || before.Range.End > range.Start)
            throw new ArgumentOutOfRangeException(nameof(range), $"Bytes {range.Start} to {range.End} came, expected some of {total} that are not here yet.");
        if (at > 0 && before.Origin == origin && before.Range.End == range.Start)
            _parts[at - 1] = (before.Range with { End = range.End }, origin);
        else if (range.Length > 0)
            _parts.Insert(at, (range, origin));
    }

    /// <summary>How many came from there.</summary>
    public long CountFrom(PartOrigin origin) => _parts.Where(p => p.Origin == origin).Sum(p => p.Range.Length);

    /// <summary>Counts as not here what any other than the coordinator gave.</summary>
    public void KeepTheCoordinators() => _parts.RemoveAll(p => p.Origin != PartOrigin.Coordinator);

    /// <summary>To where all bytes are here, from a position on; that position: not even the first.</summary>
    public long EndAt(long position)
    {
        foreach (var (range, _) in _parts)
            if (range.Start <= position && range.End > position)
                position = range.End;
        return position;
    }

    /// <summary>What is not here of a range, in order.</summary>
    public IReadOnlyList<FileRange> Missing(FileRange within)
    {
        var missing = new List<FileRange>();
        var position = within.Start;
        foreach (var (range, _) in _parts)
        {
            if (range.Start > position && position < within.End)
                missing.Add(new FileRange(position, Math.Min(range.Start, within.End)));
            position = Math.Max(position, range.End);
        }

        if (position < within.End)
            missing.Add(new FileRange(position, within.End));
        return missing;
    }

    /// <summary>As <see cref="Read"/> wants it: "1000 0-250 500-750".</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{total} {string.Join(' ', _parts.Select(p => $"{p.Range.Start}-{p.Range.End}"))}");

    private static bool TryParse(string text, out long position) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out position);
}
