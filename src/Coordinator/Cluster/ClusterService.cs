using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Store;
using MLDistributed.Coordinator.Workers;

namespace MLDistributed.Coordinator.Cluster;

/// <summary>Starts and stops the event loop, the journal and the clock that drives both.</summary>
internal sealed class ClusterService(
    ClusterDatabase database, Journal journal, EventLoop loop, ClusterController cluster, WorkerTable workers, Restoration restoration, JobArchive archive, AwakeClock clock,
    CoordinatorOptions options, IHostApplicationLifetime lifetime, ILogger<ClusterService> logger) : IHostedService
{
    private readonly ServiceLog _log = new(logger);
    private ITimer? _ticks;
    private Task _warmUp = Task.CompletedTask;

    /// <summary>Why the coordinator stopped by itself.</summary>
    public Exception? Fault { get; private set; }

    public Task StartAsync(CancellationToken cancellationToken)
    {
        var now = options.Time.GetUtcNow();
        var start = Begin(now);
        workers.StartEpochs(start.Id);
        if (!database.IsNew)
            restoration.Run();
        journal.Start(start);
        loop.Start(cluster.Settle);
        clock.Beat();
        _ticks = options.Time.CreateTimer(_ => Tick(), null, clock.Interval, clock.Interval);
        _ = StopWhenJournalFailsAsync();
        // Loads and compiles EF's ways while the first worker starts, not while the first job waits.
        journal.Append(static _ => { });
        _warmUp = Task.Run(() => archive.FindRequestAsync("", "", CancellationToken.None), CancellationToken.None);
        return Task.CompletedTask;
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        if (_ticks is not null)
            await _ticks.DisposeAsync().ConfigureAwait(false);
        await loop.DisposeAsync().ConfigureAwait(false);
        await journal.DisposeAsync().ConfigureAwait(false);
        // To its end, a fraction of a second: a coordinator that ends at once, as when its address is taken, would leave a
        // connection open behind it.
        await _warmUp.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private StartRow Begin(DateTimeOffset now)
    {
        using var mark = new CommitMark(Path.GetDirectoryName(database.Path)!);
        var promised = mark.Read() ?? default;
        if (database.LastCommit().Lacks(promised) is { } lost)
            _log.ChangesLost(database.Path, lost);
        return database.RecordStart(now, promised.Start);
    }

    private void Tick()
    {
        clock.Beat();
        CheckFiles();
        loop.Post(cluster.Tick);
    }

    /// <summary>Stops the coordinator when its database or socket is gone; false: it stops.</summary>
    public bool CheckFiles()
    {
        if (Fault is null && Vanished() is { } path)
        {
            Fault = new IOException($"File \"{path}\" was removed while the coordinator used it, which ends it: nobody could find it, or what it writes, any more. Start it again, and exempt that folder from cleaning.");
            _log.FileVanished(Fault.Message);
            lifetime.StopApplication();
        }

        return Fault is null;
    }

    // Only while it serves: the socket is made last, and removed first.
    private string? Vanished() => !lifetime.ApplicationStarted.IsCancellationRequested || lifetime.ApplicationStopping.IsCancellationRequested ? null
        : new[] { database.Path, options.FullSocketPath }.FirstOrDefault(p => p is not null && !File.Exists(p));

    // A coordinator that cannot write must not go on promising.
    private async Task StopWhenJournalFailsAsync()
    {
        try
        {
            await journal.Completion.ConfigureAwait(false);
        }
        catch (Exception e)
        {
            Fault = e as IOException ?? new IOException($"The database \"{database.Path}\" cannot be written ({e.Message.TrimEnd('.')}), which ends the coordinator. Look at the disk, and start it again.", e);
            _log.JournalFailed(e, database.Path);
            lifetime.StopApplication();
        }
    }
}

internal sealed partial class ServiceLog(ILogger logger)
{
    [LoggerMessage(141, LogLevel.Critical, "Cannot write the database \"{Path}\"; the coordinator stops")]
    public partial void JournalFailed(Exception error, string path);

    [LoggerMessage(143, LogLevel.Critical, "Database \"{Path}\" lacks {Lost}, though they were acknowledged: its log was cut or damaged, or an older copy was put in its place. Jobs, keys and results of then are gone. Check that disk, and restore the newest backup should it have them")]
    public partial void ChangesLost(string path, string lost);

    [LoggerMessage(142, LogLevel.Critical, "{Reason}")]
    public partial void FileVanished(string reason);
}
