using System.Threading.Channels;
using Microsoft.Data.Sqlite;

namespace MLDistributed.Coordinator.Store;

/// <summary>
/// Writes changes in the order in which they were appended, many in one transaction, and tells when they are durable.
/// What watchers see has been written before, so that a restart never takes back a sequence number.
/// </summary>
internal sealed class Journal(ClusterDatabase database) : IAsyncDisposable
{
    private const int MaxBatch = 256;
    private readonly Channel<Change> _changes = Channel.CreateUnbounded<Change>(new UnboundedChannelOptions { SingleReader = true });
    private Task? _writing;

    /// <summary>Completes when the journal was disposed, or fails when the database cannot be written.</summary>
    public Task Completion => _writing ?? Task.CompletedTask;

    public void Start() => _writing = Task.Run(WriteAsync);

    /// <summary>Queues a change; <paramref name="committed"/> runs when it is durable.</summary>
    public void Append(Action<ClusterDbContext> apply, Action? committed = null) => _changes.Writer.TryWrite(new Change(apply, committed));

    /// <summary>Completes when all that was appended before is durable.</summary>
    public async Task FlushAsync()
    {
        var written = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        if (_changes.Writer.TryWrite(new Change(static _ => { }, () => written.TrySetResult())))
            await Task.WhenAny(written.Task, Completion).Unwrap().ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        _changes.Writer.TryComplete();
        await Completion.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task WriteAsync()
    {
        using var connection = database.OpenConnection();
        var batch = new List<Change>();
        while (await _changes.Reader.WaitToReadAsync().ConfigureAwait(false))
        {
            while (batch.Count < MaxBatch && _changes.Reader.TryRead(out var change))
                batch.Add(change);
            await CommitAsync(connection, batch).ConfigureAwait(false);
            foreach (var change in batch)
                change.Committed?.Invoke();
            batch.Clear();
        }
    }

    private static async Task CommitAsync(SqliteConnection connection, List<Change> batch)
    {
        var context = ClusterDatabase.NewContext(connection);
        await using (context.ConfigureAwait(false))
        {
            foreach (var change in batch)
                change.Apply(context);
            await context.SaveChangesAsync().ConfigureAwait(false);
        }
    }

    private readonly record struct Change(Action<ClusterDbContext> Apply, Action? Committed);
}
