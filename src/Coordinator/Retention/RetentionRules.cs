namespace MLDistributed.Coordinator.Retention;

/// <summary>Decides which stored files are no longer needed.</summary>
internal static class RetentionRules
{
    /// <summary>Files that neither a living job, nor one that ended within the period, names, and that were not used within it.</summary>
    public static IReadOnlyList<StoredFile> Decide(DateTimeOffset now, IEnumerable<StoredFile> files, IEnumerable<FileReference> references, TimeSpan period)
    {
        var limit = now - period;
        var needed = references.Where(r => r.JobEnded is null || r.JobEnded > limit).Select(r => r.FileId).ToHashSet(StringComparer.Ordinal);
        return [.. files.Where(f => f.Used <= limit && !needed.Contains(f.Id))];
    }
}

/// <summary>A dataset, a half-uploaded dataset, a file that was to be adopted, or a blob.</summary>
internal sealed record StoredFile(string Id, StoredKind Kind, DateTimeOffset Used);

internal enum StoredKind { Dataset, PartialDataset, Incoming, Blob }

/// <summary>A file that a job reads or made. <paramref name="JobEnded"/> null: the job lives.</summary>
internal sealed record FileReference(string FileId, DateTimeOffset? JobEnded);
