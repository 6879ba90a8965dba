using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Security;

/// <summary>
/// Which tenants may use which datasets and models. Files are kept once however many tenants sent or made them; who did
/// not cannot even tell that they are there.
/// </summary>
internal sealed class Ownership(ClusterDatabase database, Journal journal, CoordinatorOptions options)
{
    /// <summary>Administrators may use all files. What a worker may, its attempts say.</summary>
    public async Task<bool> MayUseAsync(Caller caller, ContentHash fileId, CancellationToken cancellation)
    {
        if (caller.Scopes.HasFlag(Scopes.Admin))
            return true;
        using var context = database.NewContext();
        return await context.Owners.FindAsync([fileId.Text, caller.Tenant], cancellation).ConfigureAwait(false) is not null;
    }

    /// <summary>Holds when the journal has written it.</summary>
    public void Grant(ContentHash fileId, string tenant)
    {
        var name = fileId.Text;
        var now = options.Time.GetUtcNow();
        journal.Append(context =>
        {
            if (context.Owners.Find(name, tenant) is null)
                context.Owners.Add(new OwnerRow { FileId = name, Tenant = tenant, Since = now });
        });
    }
}
