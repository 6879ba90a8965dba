namespace MLDistributed.Coordinator;

/// <summary>Parts of the sentences that people read.</summary>
internal static class Words
{
    private const int MostNamed = 8;

    public static string Ranks(int count) => count == 1 ? "1 rank" : $"{count} ranks";

    /// <summary>"a, b and c"; of many the first.</summary>
    public static string Join(IEnumerable<string> parts)
    {
        var all = parts.ToList();
        var shown = all.Count <= MostNamed ? all : [.. all.Take(MostNamed), $"{all.Count - MostNamed} more"];
        return shown.Count < 2 ? shown.SingleOrDefault("") : $"{string.Join(", ", shown.SkipLast(1))} and {shown[^1]}";
    }
}
