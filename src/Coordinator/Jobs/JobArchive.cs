using Microsoft.EntityFrameworkCore;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Jobs;

/// <summary>All jobs as the database has them.</summary>
internal sealed class JobArchive(ClusterDatabase database)
{
    private const int DefaultLimit = 100;
    private const int MaxLimit = 1000;
    private const int PageBytes = 8 << 20;

    public async Task<string?> FindRequestAsync(string tenant, string requestId, CancellationToken cancellation)
    {
        using var context = database.NewContext();
        return await context.Jobs.Where(j => j.Tenant == tenant && j.RequestId == requestId).Select(j => j.Id).FirstOrDefaultAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>A job that the caller may see; null: there is none.</summary>
    public async Task<JobSnapshot?> FindAsync(Caller caller, string jobId, CancellationToken cancellation)
    {
        using var context = database.NewContext();
        if (await SeenBy(caller, context).FirstOrDefaultAsync(j => j.Id == jobId, cancellation).ConfigureAwait(false) is not { } row)
            return null;
        var documents = await context.JobDocuments.AsNoTracking().Where(d => d.JobId == jobId).ToDictionaryAsync(d => d.Kind, d => d.Content, cancellation).ConfigureAwait(false);
        return JobEntry.FromRow(row, documents.GetValueOrDefault(JobDocument.Spec), documents.GetValueOrDefault(JobDocument.Result)).ToSnapshot();
    }

    /// <summary>A job, whosever it is, less what is large of it, as it was written last. One that has ended does not change but by the loop.</summary>
    public async Task<JobEntry?> FindEntryAsync(string jobId, CancellationToken cancellation)
    {
        using var context = database.NewContext();
        var row = await context.Jobs.AsNoTracking().FirstOrDefaultAsync(j => j.Id == jobId, cancellation).ConfigureAwait(false);
        return row is null ? null : JobEntry.FromRow(row);
    }

    /// <summary>All of a job's specification.</summary>
    /// <exception cref="InvalidDataException">The database has it no more, or damaged.</exception>
    public JobSpec Spec(string jobId)
    {
        try
        {
            using var context = database.NewContext();
            var content = context.JobDocuments.AsNoTracking().Where(d => d.JobId == jobId && d.Kind == JobDocument.Spec).Select(d => d.Content).FirstOrDefault();
            return content is not null ? JobSpec.Parser.ParseFrom(content) : throw new InvalidDataException("it is not there");
        }
        catch (Exception e) when (e is InvalidDataException or Google.Protobuf.InvalidProtocolBufferException or System.Data.Common.DbException)
        {
            throw new InvalidDataException($"The specification of job {jobId} cannot be read from the database ({e.Message.TrimEnd('.')}). Submit the job again.", e);
        }
    }

    /// <summary>A page of the jobs that the caller may see, newest first, as summaries.</summary>
    /// <returns>The jobs, and the next page's token; empty: there is none.</returns>
    /// <exception cref="ArgumentException">The page token is not of such a job.</exception>
    public async Task<(IReadOnlyList<JobSnapshot> Jobs, string NextPage)> ListAsync(Caller caller, ListJobsRequest request, CancellationToken cancellation)
    {
        var firstFinal = (int)JobState.Succeeded;
        var limit = request.Limit <= 0 ? DefaultLimit : Math.Min(request.Limit, MaxLimit);
        using var context = database.NewContext();
        var seen = SeenBy(caller, context);
        var (matching, token) = (seen, request.PageToken);
        if (request.ActiveOnly)
            matching = matching.Where(j => j.State < firstFinal);
        if (request.IdPrefix.ToLowerInvariant() is { Length: > 0 } prefix)
            matching = matching.Where(j => j.Id.StartsWith(prefix));
        if (token.Length > 0)
        {
            var after = await seen.Where(j => j.Id == token).Select(j => (long?)j.Number).FirstOrDefaultAsync(cancellation).ConfigureAwait(false)
                ?? throw new ArgumentException($"Page token \"{VisibleText.Of(token[..Math.Min(token.Length, 40)])}\" is unknown, expected the one that came with the page before. Begin with the first page.");
            matching = matching.Where(j => j.Number < after);
        }

        var (page, bytes) = (new List<JobSnapshot>(), 0);
        await foreach (var row in matching.OrderByDescending(j => j.Number).Take(limit + 1).AsAsyncEnumerable().WithCancellation(cancellation).ConfigureAwait(false))
        {
            if (page.Count == limit || bytes > PageBytes)
                return (page, page[^1].Id);
            if (TryRead(row) is not { } job)
                continue; // asked for by its id alone, it says why
            page.Add(job.ToSummary());
            bytes += page[^1].CalculateSize();
        }

        return (page, "");
    }

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

    public async IAsyncEnumerable<JobEvent> EventsAsync(string jobId, long afterSequence)
    {
        using var context = database.NewContext();
        var rows = context.JobEvents.AsNoTracking().Where(e => e.JobId == jobId && e.Sequence > afterSequence).OrderBy(e => e.Sequence).AsAsyncEnumerable();
        await foreach (var row in rows.ConfigureAwait(false))
            yield return DamagedRowException.Read("Event", $"{jobId}/{row.Sequence}", () => JobEvent.Parser.ParseFrom(row.Event));
    }

    private static IQueryable<JobRow> SeenBy(Caller caller, ClusterDbContext context)
    {
        var (jobs, tenant) = (context.Jobs.AsNoTracking(), caller.Tenant);
        return caller.Scopes.HasFlag(Scopes.Admin) ? jobs : jobs.Where(j => j.Tenant == tenant);
    }
}
