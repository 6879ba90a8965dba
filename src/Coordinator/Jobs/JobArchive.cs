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

    public async Task<string?> FindRequestAsync(string tenant, string requestId, CancellationToken cancellation)
    {
        using var context = database.NewContext();
        return await context.Jobs.Where(j => j.Tenant == tenant && j.RequestId == requestId).Select(j => j.Id).FirstOrDefaultAsync(cancellation).ConfigureAwait(false);
    }

    public async Task<(string? Tenant, JobSnapshot? Job)> FindAsync(string jobId, CancellationToken cancellation)
    {
        using var context = database.NewContext();
        var row = await context.Jobs.AsNoTracking().FirstOrDefaultAsync(j => j.Id == jobId, cancellation).ConfigureAwait(false);
        return row is null ? (null, null) : (row.Tenant, JobEntry.FromRow(row).ToSnapshot());
    }

    /// <summary>The latest jobs that the caller may see, newest first.</summary>
    public async Task<IReadOnlyList<JobSnapshot>> ListAsync(Caller caller, ListJobsRequest request, CancellationToken cancellation)
    {
        var sees = caller.Scopes.HasFlag(Scopes.Admin);
        var tenant = caller.Tenant;
        var firstFinal = (int)JobState.Succeeded;
        var (activeOnly, prefix) = (request.ActiveOnly, request.IdPrefix.ToLowerInvariant());
        using var context = database.NewContext();
        var rows = await context.Jobs.AsNoTracking()
            .Where(j => (sees || j.Tenant == tenant) && (!activeOnly || j.State < firstFinal) && j.Id.StartsWith(prefix))
            .OrderByDescending(j => j.Number)
            .Take(request.Limit <= 0 ? DefaultLimit : Math.Min(request.Limit, MaxLimit))
            .ToListAsync(cancellation).ConfigureAwait(false);
        return [.. rows.Select(r => JobEntry.FromRow(r).ToSnapshot())];
    }

    public async IAsyncEnumerable<JobEvent> EventsAsync(string jobId, long afterSequence)
    {
        using var context = database.NewContext();
        var rows = context.JobEvents.AsNoTracking().Where(e => e.JobId == jobId && e.Sequence > afterSequence).OrderBy(e => e.Sequence).AsAsyncEnumerable();
        await foreach (var row in rows.ConfigureAwait(false))
            yield return JobEvent.Parser.ParseFrom(row.Event);
    }
}
