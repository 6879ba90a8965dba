using System.Runtime.CompilerServices;
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
    private const int EventPage = 64;
    private const int BytesOfJob = 32 << 10; // in a list: more than most, which only its sentences can exceed

    /// <summary>What a page may take while it is made and sent.</summary>
    public static long PageBytesOf(ListJobsRequest request) => Math.Min(2L * PageBytes, (long)LimitOf(request) * BytesOfJob);

    public async Task<OpaqueId?> FindRequestAsync(string tenant, string requestId, CancellationToken cancellation)
    {
        using var context = database.NewContext();
        var id = await context.Jobs.Where(j => j.Tenant == tenant && j.RequestId == requestId).Select(j => j.Id).FirstOrDefaultAsync(cancellation).ConfigureAwait(false);
        return id is null ? null : OpaqueId.Parse(id);
    }

    /// <summary>A job that the caller may see, less what is large of it: <see cref="CompleteAsync"/>; null: there is none.</summary>
    public async Task<JobSnapshot?> FindAsync(Caller caller, OpaqueId jobId, CancellationToken cancellation)
    {
        var id = jobId.Text;
        using var context = database.NewContext();
        if (await SeenBy(caller, context).FirstOrDefaultAsync(j => j.Id == id, cancellation).ConfigureAwait(false) is not { } row)
            return null;
        return JobEntry.FromRow(row).ToSnapshot();
    }

    /// <summary>How large is what <see cref="CompleteAsync"/> reads.</summary>
    public async Task<long> DocumentBytesAsync(OpaqueId jobId, CancellationToken cancellation)
    {
        var id = jobId.Text;
        using var context = database.NewContext();
        return await context.JobDocuments.Where(d => d.JobId == id).SumAsync(d => (long)d.Content.Length, cancellation).ConfigureAwait(false);
    }

    /// <summary>Adds what is large of a job: all of its specification, and its result's history.</summary>
    /// <exception cref="DamagedRowException">It cannot be read.</exception>
    public async Task CompleteAsync(JobSnapshot job, CancellationToken cancellation)
    {
        using var context = database.NewContext();
        await foreach (var document in context.JobDocuments.AsNoTracking().Where(d => d.JobId == job.Id).AsAsyncEnumerable().WithCancellation(cancellation).ConfigureAwait(false))
            if (document.Kind == JobDocument.Spec)
                job.Spec ??= DamagedRowException.Read("Job", job.Id, () => JobSpec.Parser.ParseFrom(document.Content));
            else
                job.Result = DamagedRowException.Read("Job", job.Id, () => JobResult.Parser.ParseFrom(document.Content));
    }

    /// <summary>A job, whosever it is, less what is large of it, as it was written last. One that has ended does not change but by the loop.</summary>
    public async Task<JobEntry?> FindEntryAsync(OpaqueId jobId, CancellationToken cancellation)
    {
        var id = jobId.Text;
        using var context = database.NewContext();
        var row = await context.Jobs.AsNoTracking().FirstOrDefaultAsync(j => j.Id == id, cancellation).ConfigureAwait(false);
        return row is null ? null : JobEntry.FromRow(row);
    }

    /// <summary>All of a job's specification.</summary>
    /// <exception cref="InvalidDataException">The database has it no more, or damaged.</exception>
    public JobSpec Spec(OpaqueId jobId)
    {
        var id = jobId.Text;
        try
        {
            using var context = database.NewContext();
            var content = context.JobDocuments.AsNoTracking().Where(d => d.JobId == id && d.Kind == JobDocument.Spec).Select(d => d.Content).FirstOrDefault();
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
        var limit = LimitOf(request);
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

    private static int LimitOf(ListJobsRequest request) => request.Limit <= 0 ? DefaultLimit : Math.Min(request.Limit, MaxLimit);

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

    /// <summary>A job's stored events, in order. By pages: a query that is open while nobody reads would keep the database's log from being cut.</summary>
    public async IAsyncEnumerable<JobEvent> EventsAsync(OpaqueId jobId, long afterSequence, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        var id = jobId.Text;
        List<JobEventRow> page;
        do
        {
            using (var context = database.NewContext())
                page = await context.JobEvents.AsNoTracking().Where(e => e.JobId == id && e.Sequence > afterSequence).OrderBy(e => e.Sequence).Take(EventPage).ToListAsync(cancellation).ConfigureAwait(false);
            foreach (var row in page)
            {
                afterSequence = row.Sequence;
                yield return DamagedRowException.Read("Event", $"{jobId}/{row.Sequence}", () => JobEvent.Parser.ParseFrom(row.Event));
            }
        }
        while (page.Count == EventPage);
    }

    private static IQueryable<JobRow> SeenBy(Caller caller, ClusterDbContext context)
    {
        var (jobs, tenant) = (context.Jobs.AsNoTracking(), caller.Tenant);
        return caller.Scopes.HasFlag(Scopes.Admin) ? jobs : jobs.Where(j => j.Tenant == tenant);
    }
}
