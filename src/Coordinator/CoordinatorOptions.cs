using MLDistributed.Protocol;

namespace MLDistributed.Coordinator;

/// <summary>How a coordinator listens and where it keeps its state.</summary>
public sealed class CoordinatorOptions
{
    /// <summary>Folder of the database and the blob store. Made when missing.</summary>
    public required string DataFolder { get; init; }

    /// <summary>A Unix socket to listen on, without keys: for a local cluster, in a folder of mode 0700. Null: none.</summary>
    public string? SocketPath { get; init; }

    /// <summary>Addresses to listen on, as "https://host:port" or "http://host:port" (port 0: any). May be empty when a socket is given.</summary>
    public IReadOnlyList<string> Urls { get; init; } = [];

    /// <summary>PFX or PEM certificate for https. Null: a self-signed one is made in the data folder and its fingerprint printed.</summary>
    public string? CertificatePath { get; init; }

    /// <summary>The key of a PEM certificate, when in a file of its own.</summary>
    public string? CertificateKeyPath { get; init; }

    /// <summary>A worker that was silent for this long is lost.</summary>
    /// <value>5 s.</value>
    public TimeSpan HeartbeatTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>After a restart of the coordinator, the workers of running jobs have this long to reconnect.</summary>
    /// <value>20 s.</value>
    public TimeSpan RecoveryTimeout { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>A job of <c>DisconnectPolicy.Cancel</c> that nobody watched for this long is cancelled.</summary>
    /// <value>30 s.</value>
    public TimeSpan DisconnectGrace { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>A cancelled job waits this long for its worker to say that the ranks are stopped.</summary>
    /// <value>5 s.</value>
    public TimeSpan StopTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// A worker that accepted an attempt and gives no sign of starting it for this long loses it. Fetching the data is a
    /// sign; longer than a worker's own limits for loading (2 min), whose reasons say more.
    /// </summary>
    /// <value>3 min.</value>
    public TimeSpan PlacingTimeout { get; init; } = TimeSpan.FromMinutes(3);

    /// <summary>
    /// A worker that trains and tells nothing of it for this long, though it beats, loses the attempt, which counts. Steps are
    /// told several times a second, long validations and transfers every minute: what must fit is the longest single step.
    /// </summary>
    /// <value>5 min.</value>
    public TimeSpan ProgressTimeout { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// So many failed attempts of a worker, at least half of those that ended on it within <see cref="CordonWindow"/>, and it is
    /// cordoned: until <see cref="CordonPeriod"/> is over it gets only jobs that no others could hold. A failure counts where
    /// the worker, its network or a rank of it was lost; not what a job's data or code did (NaN, an exception), nor
    /// crashes of a job that crashed on another worker too.
    /// </summary>
    /// <value>2. 0: no worker is cordoned but by hand.</value>
    public int CordonFailures { get; init; } = 2;

    /// <summary>How long a failed attempt counts against its worker.</summary>
    /// <value>10 min.</value>
    public TimeSpan CordonWindow { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How long a worker is cordoned; until an attempt ends well on it, the next failure does so again, for twice as long, up to an hour.</summary>
    /// <value>5 min.</value>
    public TimeSpan CordonPeriod { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Datasets and models that no job used for this long are removed, and the history of jobs that ended before.</summary>
    /// <value>30 days.</value>
    public TimeSpan RetentionPeriod { get; init; } = TimeSpan.FromDays(30);

    /// <summary>The log lines and progress of jobs that ended so long ago are removed; their states and epochs stay with the job.</summary>
    /// <value>7 days.</value>
    public TimeSpan LogRetentionPeriod { get; init; } = TimeSpan.FromDays(7);

    /// <summary>A job that failed or was cancelled keeps its last checkpoint this long, so that it can be resumed.</summary>
    /// <value>7 days. Zero: none is kept.</value>
    public TimeSpan CheckpointRetention { get; init; } = TimeSpan.FromDays(7);

    /// <summary>
    /// Datasets and models that no living job needs are removed beyond this size, whenever a job ends, and of the jobs'
    /// history only the latest hundred are kept: for the cluster of one app, whose data is of use to nobody else. On a small
    /// disk it is a tenth of that. Null: nothing is removed before <see cref="RetentionPeriod"/>.
    /// </summary>
    /// <value>null</value>
    public long? CacheBytes { get; init; }

    /// <summary>The largest dataset or blob that may be uploaded, in bytes.</summary>
    /// <value>64 GiB.</value>
    public long MaxUploadBytes { get; init; } = 64L << 30;

    /// <summary>How many jobs of a tenant may wait or run; each that waits costs some 24 KB of memory.</summary>
    /// <value>20,000.</value>
    public int MaxJobs { get; init; } = 20_000;

    /// <summary>
    /// Whether a data folder whose database is missing or empty may begin anew though it has files of an earlier coordinator,
    /// whose keys, jobs and workers are forgotten then. A database that is there is used in any case.
    /// </summary>
    /// <value>false</value>
    public bool BeginAnew { get; init; }

    /// <summary>
    /// Whether jobs may bring code of their own (a module's assemblies), which then runs on the workers as the workers' user:
    /// whoever may submit jobs is trusted with these machines.
    /// </summary>
    /// <value>false</value>
    public bool AllowUserCode { get; init; }

    /// <summary>The store of one app on this machine, which loses nothing with it that it could not make again.</summary>
    internal bool IsCache => IsLocalOnly && CacheBytes is not null;

    /// <summary>Nobody but this machine's user can join: workers that cannot run a job now never will.</summary>
    internal bool IsLocalOnly => Urls.Count == 0;

    /// <summary>Uploads are refused that would leave less than this free on the data folder's disk, so that the database has room.</summary>
    /// <value>64 MiB.</value>
    public long MinFreeBytes { get; init; } = 64L << 20;

    /// <summary>What unfinished messages of all callers together may take of this process's memory.</summary>
    /// <value>512 MiB, or a quarter of the memory there is, and at least what two of the largest take.</value>
    internal long MaxUnfinishedBytes { get; init; } = Math.Clamp(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4, 160L << 20, 512L << 20);

    /// <summary><see cref="SocketPath"/>, wherever this process started.</summary>
    internal string? FullSocketPath => SocketPath is null ? null : Path.GetFullPath(SocketPath);

    /// <summary>While another process holds the database's write lock, changes wait for this long; then the coordinator ends.</summary>
    internal TimeSpan LockTimeout { get; init; } = TimeSpan.FromSeconds(30);

    internal TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>All that is wrong with these options, each a sentence; empty when they are valid.</summary>
    internal IReadOnlyList<string> Validate()
    {
        var errors = new List<string>();
        if (string.IsNullOrWhiteSpace(DataFolder))
            errors.Add("DataFolder is empty, expected a folder for the database and the blobs.");
        if (SocketPath is null && Urls.Count == 0)
            errors.Add("There is nothing to listen on, expected a SocketPath or at least one of Urls.");
        if (FullSocketPath is { } socket && UnixSocketAddress.Refusal(socket) is { } refusal)
            errors.Add(refusal);
        foreach (var url in Urls)
            if (!Uri.TryCreate(url, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https"))
                errors.Add($"Url \"{url}\" is no address, expected https://host:port or http://localhost:port.");
            else if (uri.Scheme == "http" && !uri.IsLoopback)
                errors.Add($"Url \"{url}\" would send API keys unencrypted, expected https, or http on a loopback address.");
        if (CertificateKeyPath is not null && CertificatePath is null)
            errors.Add("CertificateKeyPath is set without CertificatePath, expected both for a PEM certificate.");
        Positive(nameof(HeartbeatTimeout), HeartbeatTimeout);
        Positive(nameof(RecoveryTimeout), RecoveryTimeout);
        Positive(nameof(DisconnectGrace), DisconnectGrace);
        Positive(nameof(StopTimeout), StopTimeout);
        Positive(nameof(PlacingTimeout), PlacingTimeout);
        Positive(nameof(ProgressTimeout), ProgressTimeout);
        Positive(nameof(CordonWindow), CordonWindow);
        Positive(nameof(CordonPeriod), CordonPeriod);
        if (CordonFailures < 0)
            errors.Add($"{nameof(CordonFailures)} is {CordonFailures}, expected at least 0.");
        Positive(nameof(RetentionPeriod), RetentionPeriod);
        Positive(nameof(LogRetentionPeriod), LogRetentionPeriod);
        if (CheckpointRetention < TimeSpan.Zero)
            errors.Add($"{nameof(CheckpointRetention)} is {CheckpointRetention}, expected zero (none is kept) or more.");
        if (CacheBytes < 0)
            errors.Add($"CacheBytes is {CacheBytes}, expected at least 0.");
        if (MaxUploadBytes <= 0)
            errors.Add($"MaxUploadBytes is {MaxUploadBytes}, expected at least 1.");
        if (MaxJobs < 1)
            errors.Add($"MaxJobs is {MaxJobs}, expected at least 1.");
        if (MinFreeBytes < 0)
            errors.Add($"MinFreeBytes is {MinFreeBytes}, expected at least 0.");
        return errors;

        void Positive(string name, TimeSpan value)
        {
            if (value <= TimeSpan.Zero)
                errors.Add($"{name} is {value}, expected a time above zero.");
        }
    }
}
