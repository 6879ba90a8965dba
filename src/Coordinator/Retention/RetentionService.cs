using System.Threading.Channels;
using Microsoft.EntityFrameworkCore;
using MLDistributed.Coordinator.Blobs;
using MLDistributed.Coordinator.Cluster;
using MLDistributed.Coordinator.Datasets;
using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Retention;

/// <summary>
/// Removes the files that <see cref="RetentionRules"/> names, and the history of jobs that ended before the period, once an
/// hour; with a cache that has a size, whenever a job ends and every minute.
/// </summary>
internal sealed class RetentionService(
    ClusterDatabase database, Journal journal, EventLoop loop, JobTable jobs, ClusterController cluster, BlobStore blobs, DatasetStore datasets, CoordinatorOptions options, ILogger<RetentionService> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromHours(1);
    private static readonly TimeSpan CacheInterval = TimeSpan.FromMinutes(1);
    private const int EndedJobsCached = 100;
    private const double MaxPartOfDisk = 0.1;
    private const int JobsAtOnce = 100; // the journal is not held up for long
    private readonly RetentionLog _log = new(logger);
    private readonly (DateTimeOffset Wall, long Timestamp) _start = (options.Time.GetUtcNow(), options.Time.GetTimestamp());

    private DateTimeOffset _logsForgottenUntil;

    // Nothing ages by a clock that is set forward.
    private DateTimeOffset Now
    {
        get
        {
            var (wall, lived) = (options.Time.GetUtcNow(), _start.Wall + options.Time.GetElapsedTime(_start.Timestamp));
            return wall < lived ? wall : lived;
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        // The first look comes after an interval: a start has better things to do.
        var due = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
        var interval = options.CacheBytes is null ? Interval : CacheInterval;
        var timer = options.Time.CreateTimer(_ => due.Writer.TryWrite(true), null, interval, interval);
        await using var stopping = timer.ConfigureAwait(false);
        if (options.CacheBytes is not null)
            jobs.EndCommitted = () => due.Writer.TryWrite(true);
        await foreach (var _ in due.Reader.ReadAllAsync(stoppingToken).ConfigureAwait(false))
        {
            try
            {
                await CollectAsync(stoppingToken).ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or System.Data.Common.DbException or StoreException)
            {
                _log.Failed(e);
            }
        }
    }

    internal async Task CollectAsync(CancellationToken cancellation)
    {
        using var context = database.NewContext();
        var now = Now;
        var files = await FilesAsync(context, cancellation).ConfigureAwait(false);
        var references = await ReferencesAsync(context, now, cancellation).ConfigureAwait(false);
        var chosen = RetentionRules.Expired(now, files, references, options.RetentionPeriod);
        if (CacheBytes() is { } cache)
            chosen = [.. chosen.Union(RetentionRules.BeyondCache(options.Time.GetUtcNow(), files, references, cache))];
        var doomed = new List<StoredFile>();
        foreach (var file in chosen.Where(f => f.Remove()))
        {
            doomed.Add(file);
            _log.Removed(file.Kind, file.Name);
        }

        // By the journal, which is the only one that writes these tables: no row goes while it is being changed.
        var ids = doomed.Select(f => f.Id?.Text).OfType<string>().ToArray();
        journal.Append(rows =>
        {
            rows.Datasets.Where(d => ids.Contains(d.Id)).ExecuteDelete();
            rows.Owners.Where(o => ids.Contains(o.FileId)).ExecuteDelete();
            rows.Blobs.Where(b => ids.Contains(b.Id)).ExecuteDelete();
        });
        await ForgetLogsAsync(context, now - options.LogRetentionPeriod, cancellation).ConfigureAwait(false);
        await ForgetCheckpointsAsync(context, now - options.CheckpointRetention, cancellation).ConfigureAwait(false);
        await ForgetJobsAsync(context, now - options.RetentionPeriod, cancellation).ConfigureAwait(false);
    }

    private async Task ForgetCheckpointsAsync(ClusterDbContext context, DateTimeOffset limit, CancellationToken cancellation)
    {
        var rows = await context.Jobs.AsNoTracking().Where(j => j.EndedAt <= limit && j.Checkpoints != "").ToListAsync(cancellation).ConfigureAwait(false);
        if (rows.Count == 0)
            return;
        var ended = rows.Select(TryRead).OfType<JobEntry>().ToList();
        await loop.InvokeAsync(() => cluster.ForgetCheckpoints(ended)).ConfigureAwait(false);
        await journal.FlushAsync().ConfigureAwait(false);
        _log.CheckpointsRemoved(rows.Count);
    }

    // Of each job once, but after a start.
    private async Task ForgetLogsAsync(ClusterDbContext context, DateTimeOffset limit, CancellationToken cancellation)
    {
        var since = _logsForgottenUntil;
        var old = await context.Jobs.Where(j => j.EndedAt <= limit && j.EndedAt > since).Select(j => j.Id).ToListAsync(cancellation).ConfigureAwait(false);
        foreach (var ids in old.Chunk(JobsAtOnce))
        {
            journal.Append(rows => rows.JobEvents.Where(e => ids.Contains(e.JobId) && e.Transient).ExecuteDelete());
            await journal.FlushAsync().ConfigureAwait(false);
        }

        _logsForgottenUntil = limit;
    }

    // Not those with an attempt that may still run: it holds its slots by its row.
    private async Task ForgetJobsAsync(ClusterDbContext context, DateTimeOffset limit, CancellationToken cancellation)
    {
        var ended = context.Jobs.Where(j => j.EndedAt != null && !context.Attempts.Any(a => a.JobId == j.Id && a.EndedAt == null));
        var old = await ended.Where(j => j.EndedAt <= limit).Select(j => j.Id).ToListAsync(cancellation).ConfigureAwait(false);
        if (options.CacheBytes is not null)
            old = [.. old.Union(await ended.OrderByDescending(j => j.Number).Skip(EndedJobsCached).Select(j => j.Id).ToListAsync(cancellation).ConfigureAwait(false), StringComparer.Ordinal)];
        foreach (var ids in old.Chunk(JobsAtOnce))
        {
            loop.Post(() => jobs.Forget(ids.Select(text => OpaqueId.TryParse(text, out var id) ? id : null).OfType<OpaqueId>()));
            journal.Append(rows =>
            {
                rows.JobEvents.Where(e => ids.Contains(e.JobId)).ExecuteDelete();
                rows.JobTransitions.Where(t => ids.Contains(t.JobId)).ExecuteDelete();
                rows.JobDocuments.Where(d => ids.Contains(d.JobId)).ExecuteDelete();
                rows.Attempts.Where(a => ids.Contains(a.JobId)).ExecuteDelete();
                rows.Jobs.Where(j => ids.Contains(j.Id)).ExecuteDelete();
            });
            await journal.FlushAsync().ConfigureAwait(false);
        }

        if (old.Count > 0)
            _log.JobsRemoved(old.Count);
        await journal.FlushAsync().ConfigureAwait(false);
    }

    // The folder says what there is; the database when it was last used (a file that it does not know: when it was written).
    private async Task<List<StoredFile>> FilesAsync(ClusterDbContext context, CancellationToken cancellation)
    {
        var datasetUse = await context.Datasets.ToDictionaryAsync(d => d.Id, d => d.UsedAt, cancellation).ConfigureAwait(false);
        var blobUse = await context.Blobs.ToDictionaryAsync(b => b.Id, b => b.UsedAt, cancellation).ConfigureAwait(false);
        return
        [
            .. datasets.Files().Select(f => Named(f.Id, StoredKind.Dataset, f.File, datasetUse) with { IsClaimed = datasets.IsClaimed(f.Id), Remove = () => datasets.TryDelete(f.Id) }),
            .. datasets.Partials().Select(f => Unnamed(StoredKind.PartialDataset, f.Folder, () => datasets.DeletePartial(f.Key))),
            .. new DirectoryInfo(datasets.IncomingFolder).EnumerateFiles().Select(f => Unnamed(StoredKind.Incoming, f, f.Delete)),
            .. blobs.Files().Select(f => Named(f.Id, StoredKind.Blob, f.File, blobUse) with { Remove = () => Done(() => blobs.Delete(f.Id)) }),
        ];

        static StoredFile Named(ContentHash id, StoredKind kind, FileInfo file, Dictionary<string, DateTimeOffset> used) =>
            new(id, kind, used.TryGetValue(id.Text, out var time) ? time : Written(file), file.Length) { Name = id.Text };

        static StoredFile Unnamed(StoredKind kind, FileSystemInfo file, Action remove) =>
            new(null, kind, Written(file), (file as FileInfo)?.Length ?? 0) { Name = file.Name, Remove = () => Done(remove) };

        static DateTimeOffset Written(FileSystemInfo file) => new(file.LastWriteTimeUtc, TimeSpan.Zero);
    }

    private static bool Done(Action action)
    {
        action();
        return true;
    }

    private async Task<List<FileReference>> ReferencesAsync(ClusterDbContext context, DateTimeOffset now, CancellationToken cancellation)
    {
        var limit = now - options.RetentionPeriod;
        var references = new List<FileReference>();
        await foreach (var job in context.Jobs.AsNoTracking().Where(j => j.EndedAt == null || j.EndedAt > limit).AsAsyncEnumerable().WithCancellation(cancellation).ConfigureAwait(false))
        {
            if (TryRead(job) is not { } entry)
                continue;
            references.AddRange((entry.Result?.Artifacts.Values ?? []).Select(a => a.Hash).Concat(new[] { entry.Spec.FrameId }.OfType<ContentHash>()).Select(id => new FileReference(id, job.EndedAt, IsResult: true)));
            references.AddRange(entry.Checkpoints.Select(c => c.Id).Concat(entry.Spec.DatasetIds).Concat(entry.Spec.FileIds).Select(id => new FileReference(id, job.EndedAt)));
        }

        return references;
    }

    // One that cannot be read was named when the coordinator started, and keeps nothing.
    private static JobEntry? TryRead(JobRow row)
    {
        try
        {
            return JobEntry.FromRow(row);
        }
        catch (DamagedRowException)
        {
            return null;
        }
    }

    // A share of a small disk only, as of one that is memory.
    private long? CacheBytes() => options.CacheBytes is { } asked && DiskSpace.SizeBytes(datasets.Folder) is { } size
        ? Math.Min(asked, (long)(size * MaxPartOfDisk))
        : options.CacheBytes;
}

internal sealed partial class RetentionLog(ILogger logger)
{
    [LoggerMessage(401, LogLevel.Information, "Removed {Kind} {Name}: no job needs it")]
    public partial void Removed(StoredKind kind, string name);

    [LoggerMessage(403, LogLevel.Information, "Removed the history of {Count} jobs that ended long ago")]
    public partial void JobsRemoved(int count);

    [LoggerMessage(404, LogLevel.Information, "Removed the checkpoints of {Count} jobs that failed or were cancelled long ago")]
    public partial void CheckpointsRemoved(int count);

    [LoggerMessage(402, LogLevel.Warning, "Could not remove old files; the next hour tries again")]
    public partial void Failed(Exception error);
}
