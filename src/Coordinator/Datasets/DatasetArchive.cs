using Google.Protobuf.WellKnownTypes;
using Microsoft.EntityFrameworkCore;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>The datasets as the database has them.</summary>
internal sealed class DatasetArchive(ClusterDatabase database)
{
    private const int DefaultLimit = 100;
    private const int MaxLimit = 1000;

    /// <summary>The latest that the caller's tenant sent, newest first; all of them for administrators.</summary>
    public async Task<IReadOnlyList<DatasetSnapshot>> ListAsync(Caller caller, ListDatasetsRequest request, CancellationToken cancellation)
    {
        var prefix = request.IdPrefix.ToLowerInvariant();
        using var context = database.NewContext();
        var all = context.Datasets.AsNoTracking().Where(d => d.Id.StartsWith(prefix));
        var tenant = caller.Tenant;
        var seen = caller.Scopes.HasFlag(Scopes.Admin)
            ? all.Select(d => new { d.Id, d.RowCount, d.SizeBytes, Sent = d.CreatedAt })
            : all.Join(context.Owners.Where(o => o.Tenant == tenant), d => d.Id, o => o.FileId, (d, o) => new { d.Id, d.RowCount, d.SizeBytes, Sent = o.Since });
        var rows = await seen.OrderByDescending(d => d.Sent).ThenBy(d => d.Id)
            .Take(request.Limit <= 0 ? DefaultLimit : Math.Min(request.Limit, MaxLimit))
            .ToListAsync(cancellation).ConfigureAwait(false);
        return [.. rows.Select(d => new DatasetSnapshot { Id = d.Id, RowCount = d.RowCount, SizeBytes = d.SizeBytes, Sent = d.Sent.ToTimestamp() })];
    }
}
