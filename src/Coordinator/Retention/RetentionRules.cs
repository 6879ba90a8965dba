using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Retention;

/// <summary>Decides which stored files are no longer needed.</summary>
internal static class RetentionRules
{
    /// <summary>In a cache: a client fetches its model this soon after its job's end, and a worker or client names what it stored this soon.</summary>
    public static readonly TimeSpan FetchTime = TimeSpan.FromMinutes(2);

    /// <summary>Files that neither a living job, nor one that ended within the period, names, and that were not used within it.</summary>
    public static IReadOnlyList<StoredFile> Expired(DateTimeOffset now, IEnumerable<StoredFile> files, IEnumerable<FileReference> references, TimeSpan period)
    {
        var limit = now - period;
        var needed = references.Where(r => r.JobEnded is null || r.JobEnded > limit).Select(r => r.FileId).ToHashSet();
        return [.. files.Where(f => f.Used <= limit && !IsNamed(f, needed))];
    }

    /// <summary>What does not fit a cache of datasets and models that no living job needs: the most recently used stay.</summary>
    /// <param name="now">The time.</param>
    /// <param name="files">All that is stored.</param>
    /// <param name="references">What all known jobs name.</param>
    /// <param name="cacheBytes">The size of the cache.</param>
    public static IReadOnlyList<StoredFile> BeyondCache(DateTimeOffset now, IEnumerable<StoredFile> files, IReadOnlyCollection<FileReference> references, long cacheBytes)
    {
        var fetched = now - FetchTime;
        var needed = references.Where(r => r.JobEnded is null || r.IsResult && r.JobEnded > fetched).Select(r => r.FileId).ToHashSet();
        var spare = files.Where(f => !IsNamed(f, needed) && !f.IsClaimed
            && (f.Kind == StoredKind.Dataset || f.Kind == StoredKind.Blob && f.Used <= fetched));
        var (kept, beyond) = (0L, new List<StoredFile>());
        foreach (var file in spare.OrderByDescending(f => f.Used))
        {
            if (file.Bytes <= cacheBytes - kept)
                kept += file.Bytes;
            else
                beyond.Add(file);
        }

        return beyond;
    }

    private static bool IsNamed(StoredFile file, HashSet<ContentHash> needed) => file.Id is not null && needed.Contains(file.Id);
}

/// <summary>A dataset, a half-uploaded dataset, a file that was to be adopted, or a blob.</summary>
/// <param name="Id">By which jobs name it; null: none can.</param>
/// <param name="Kind">What it is.</param>
/// <param name="Used">When it was last used.</param>
/// <param name="Bytes">Its size.</param>
internal sealed record StoredFile(ContentHash? Id, StoredKind Kind, DateTimeOffset Used, long Bytes = 0)
{
    /// <summary>For the log.</summary>
    public string Name { get; init; } = "";

    /// <summary>Removes it; false: it is needed after all.</summary>
    public Func<bool> Remove { get; init; } = () => true;

    /// <summary>A client was told that it is here, and has not submitted its job yet.</summary>
    public bool IsClaimed { get; init; }
}

internal enum StoredKind { Dataset, PartialDataset, Incoming, Blob }

/// <summary>A file that a job reads or made. <paramref name="JobEnded"/> null: the job lives.</summary>
internal sealed record FileReference(ContentHash FileId, DateTimeOffset? JobEnded, bool IsResult = false);
