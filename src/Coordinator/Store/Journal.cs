using System.Threading.Channels;
using Microsoft.Data.Sqlite;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Store;

/// <summary>
/// Writes changes in the order in which they were appended, many in one transaction, and tells when they are durable.
/// What watchers see has been written before, so that a restart never takes back a sequence number.
/// </summary>
internal sealed class Journal(ClusterDatabase database, CoordinatorOptions options, ILogger<Journal> logger) : IAsyncDisposable
{
    private const int MaxBatch = 256;
    private const int Full = 13;        // SQLITE_FULL
    private const int InputOutput = 10; // SQLITE_IOERR
    private const int Busy = 5;         // SQLITE_BUSY
    private const int LockWaitSeconds = 1; // inside SQLite, before the wait is counted here
    private static readonly TimeSpan RetryInterval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan TroubleAfter = TimeSpan.FromSeconds(3); // what passes sooner is nobody's trouble
    private readonly JournalLog _log = new(logger);
    private readonly Channel<Change> _changes = Channel.CreateUnbounded<Change>(new UnboundedChannelOptions { SingleReader = true });
    private volatile TaskCompletionSource _trouble = NewSignal();
    private readonly CancellationTokenSource _stopping = new();
    private StartRow? _start;
    private Task? _writing;

    /// <summary>Completes when the journal was disposed, or fails when the database cannot be written.</summary>
    public Task Completion => _writing ?? Task.CompletedTask;

    /// <summary>
    /// Fails with a <see cref="StoreException"/> while the disk has no room, or another process has the database locked.
    /// Nothing is lost meanwhile, as changes wait; but who waits for one must be told why.
    /// </summary>
    public Task Trouble => _trouble.Task;

    /// <param name="start">This run, whose commits are counted.</param>
    public void Start(StartRow start)
    {
        _start = start;
        _writing = Task.Run(WriteAsync);
    }

    /// <summary>Queues a change; <paramref name="committed"/> runs when it is durable.</summary>
    public void Append(Action<ClusterDbContext> apply, Action? committed = null) => _changes.Writer.TryWrite(new Change(apply, committed));

    /// <summary>Completes when all that was appended before is durable.</summary>
    public async Task FlushAsync()
    {
        var written = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        if (_changes.Writer.TryWrite(new Change(static _ => { }, () => written.TrySetResult())))
            await Task.WhenAny(written.Task, Completion, Trouble).Unwrap().ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        _changes.Writer.TryComplete();
        await _stopping.CancelAsync().ConfigureAwait(false);
        await Completion.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task WriteAsync()
    {
        using var connection = database.OpenConnection();
        connection.DefaultTimeout = LockWaitSeconds;
        using var mark = new CommitMark(Path.GetDirectoryName(database.Path)!);
        var batch = new List<Change>();
        while (await _changes.Reader.WaitToReadAsync().ConfigureAwait(false))
        {
            while (batch.Count < MaxBatch && _changes.Reader.TryRead(out var change))
                batch.Add(change);
            await CommitWhenPossibleAsync(connection, batch).ConfigureAwait(false);
            mark.Write(new CommitCount(_start!.Id, ++_start.Commits));
            foreach (var change in batch)
                change.Committed?.Invoke();
            batch.Clear();
        }
    }

    private async Task CommitWhenPossibleAsync(SqliteConnection connection, List<Change> batch)
    {
        long? since = null;
        while (true)
        {
            try
            {
                await CommitAsync(connection, batch).ConfigureAwait(false);
                if (since is not null)
                    Recovered();
                return;
            }
            catch (Exception e) when (IsPassing(e) && !_stopping.IsCancellationRequested)
            {
                since ??= options.Time.GetTimestamp();
                if (IsLocked(e) && options.Time.GetElapsedTime(since.Value) >= options.LockTimeout)
                    throw new IOException($"Database \"{database.Path}\" was locked by another process for {options.LockTimeout.TotalSeconds:0.#} s, which ends the coordinator: it cannot write what it promises. End that process (\"fuser {database.Path}\" names it), and start the coordinator again.", e);
                if (options.Time.GetElapsedTime(since.Value) >= TroubleAfter && !_trouble.Task.IsCompleted)
                    Despair(e);
            }

            await Task.Delay(RetryInterval, options.Time, _stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private void Despair(Exception e)
    {
        var cause = (SqliteException)e.GetBaseException();
        var reason = IsLocked(cause) ? new IOException("another process has it locked") : cause.SqliteErrorCode == Full ? DiskSpace.Full(cause.Message) : new IOException(cause.Message);
        var error = new StoreException("The coordinator's database", Path.GetDirectoryName(database.Path)!, reason);
        _log.NoRoom(error.Message);
        _trouble.TrySetException(error);
        _ = _trouble.Task.Exception; // nobody may be waiting
    }

    private void Recovered()
    {
        if (!_trouble.Task.IsCompleted)
            return;
        _log.RoomAgain();
        _trouble = NewSignal();
    }

    // I/O errors too: what the log's shared memory says on a full disk.
    private static bool IsPassing(Exception e) => IsLocked(e) || e.GetBaseException() is SqliteException { SqliteErrorCode: Full or InputOutput };

    private static bool IsLocked(Exception e) => e.GetBaseException() is SqliteException { SqliteErrorCode: Busy };

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private async Task CommitAsync(SqliteConnection connection, List<Change> batch)
    {
        var context = ClusterDatabase.NewContext(connection);
        await using (context.ConfigureAwait(false))
        {
            foreach (var change in batch)
                change.Apply(context);
            context.Starts.Update(new StartRow { Id = _start!.Id, Time = _start.Time, Commits = _start.Commits + 1 });
            await context.SaveChangesAsync().ConfigureAwait(false);
        }
    }

    private readonly record struct Change(Action<ClusterDbContext> Apply, Action? Committed);
}

internal sealed partial class JournalLog(ILogger logger)
{
    [LoggerMessage(151, LogLevel.Critical, "{Reason} Jobs are refused until then; running ones go on.")]
    public partial void NoRoom(string reason);

    [LoggerMessage(152, LogLevel.Warning, "The database can be written again")]
    public partial void RoomAgain();
}
