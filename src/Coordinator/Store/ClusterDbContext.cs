using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Storage.ValueConversion;

namespace MLDistributed.Coordinator.Store;

internal sealed class ClusterDbContext(DbContextOptions<ClusterDbContext> options) : DbContext(options)
{
    public DbSet<JobRow> Jobs => Set<JobRow>();
    public DbSet<JobDocumentRow> JobDocuments => Set<JobDocumentRow>();
    public DbSet<JobTransitionRow> JobTransitions => Set<JobTransitionRow>();
    public DbSet<JobEventRow> JobEvents => Set<JobEventRow>();
    public DbSet<AttemptRow> Attempts => Set<AttemptRow>();
    public DbSet<DatasetRow> Datasets => Set<DatasetRow>();
    public DbSet<BlobRow> Blobs => Set<BlobRow>();
    public DbSet<OwnerRow> Owners => Set<OwnerRow>();
    public DbSet<ApiKeyRow> ApiKeys => Set<ApiKeyRow>();
    public DbSet<JoinTokenRow> JoinTokens => Set<JoinTokenRow>();
    public DbSet<WorkerRow> Workers => Set<WorkerRow>();
    public DbSet<CordonRow> Cordons => Set<CordonRow>();
    public DbSet<StartRow> Starts => Set<StartRow>();

    /// <summary>Adds or overwrites a row by its key. Rows of one unit of work that share a key become the last of them.</summary>
    public void Put<TRow>(DbSet<TRow> set, TRow row, bool isNew, Func<TRow, bool> sameKey) where TRow : class
    {
        if (set.Local.FirstOrDefault(sameKey) is { } tracked)
            Entry(tracked).CurrentValues.SetValues(row);
        else if (isNew)
            set.Add(row);
        else
            set.Update(row);
    }

    protected override void ConfigureConventions(ModelConfigurationBuilder conventions) =>
        conventions.Properties<DateTimeOffset>().HaveConversion<UnixMilliseconds>();

    protected override void OnModelCreating(ModelBuilder model)
    {
        var jobs = model.Entity<JobRow>();
        jobs.HasIndex(j => j.Number).IsUnique();
        jobs.HasIndex(j => new { j.Tenant, j.RequestId }).IsUnique();
        jobs.HasIndex(j => new { j.Tenant, j.Number });
        jobs.HasIndex(j => j.State);
        model.Entity<JobDocumentRow>().HasKey(d => new { d.JobId, d.Kind });
        model.Entity<JobTransitionRow>().HasKey(t => new { t.JobId, t.Sequence });
        model.Entity<JobEventRow>().HasKey(e => new { e.JobId, e.Sequence });
        model.Entity<OwnerRow>().HasKey(o => new { o.FileId, o.Tenant });
        model.Entity<AttemptRow>().HasKey(a => new { a.Id, a.WorkerId });
        model.Entity<AttemptRow>().HasIndex(a => a.JobId);
        model.Entity<CordonRow>().HasKey(c => c.WorkerId);
        model.Entity<ApiKeyRow>().HasIndex(k => k.Hash).IsUnique();
        model.Entity<JoinTokenRow>().HasKey(t => t.Hash);
        model.Entity<WorkerRow>().HasIndex(w => w.CredentialHash).IsUnique();
    }

    // Integers, so that times compare and sort in every database.
    private sealed class UnixMilliseconds() : ValueConverter<DateTimeOffset, long>(
        time => time.ToUnixTimeMilliseconds(), milliseconds => DateTimeOffset.FromUnixTimeMilliseconds(milliseconds));
}
