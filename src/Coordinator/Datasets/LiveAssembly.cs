using System.Threading.Channels;
using Apache.Arrow;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>
/// Assembles a dataset while it comes, on a thread of its own and a few batches behind: an upload in one piece is hashed,
/// written and on disk when its last batch is here, and not only begun to be.
/// </summary>
internal sealed class LiveAssembly : IAsyncDisposable
{
    private const int Behind = 2; // batches of about 4 MiB

    private readonly Channel<RecordBatch> _batches = Channel.CreateBounded<RecordBatch>(new BoundedChannelOptions(Behind) { SingleReader = true, SingleWriter = true });
    private readonly Task<DatasetAssembler> _assembling;
    private readonly Action _ended;

    /// <param name="datasetId">What was announced.</param>
    /// <param name="path">The file; removed, should it still have this name when this is disposed.</param>
    /// <param name="ended">Called when it is disposed.</param>
    public LiveAssembly(ContentHash datasetId, string path, Action ended)
    {
        Path = path;
        _ended = ended;
        _assembling = Task.Run(() => AssembleAsync(datasetId));
    }

    public string Path { get; }

    /// <summary>Takes a batch over. What goes wrong with it, the end says.</summary>
    public async Task AddAsync(RecordBatch batch, CancellationToken cancellation)
    {
        try
        {
            await _batches.Writer.WriteAsync(batch, cancellation).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            batch.Dispose();
            if (e is not ChannelClosedException)
                throw;
        }
    }

    /// <summary>All has come: returns when the file is whole and durable.</summary>
    /// <exception cref="FormatException">It is another dataset; the message says what differs.</exception>
    public async Task CompleteAsync(long expectedRows, CancellationToken cancellation)
    {
        _batches.Writer.TryComplete();
        var assembler = await _assembling.ConfigureAwait(false);
        await assembler.CompleteAsync(expectedRows, cancellation).ConfigureAwait(false);
        await assembler.DisposeAsync().ConfigureAwait(false); // closed before it is renamed
    }

    public async ValueTask DisposeAsync()
    {
        _batches.Writer.TryComplete();
        await ((Task)_assembling).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (_assembling.IsCompletedSuccessfully)
            await (await _assembling.ConfigureAwait(false)).DisposeAsync().ConfigureAwait(false);
        File.Delete(Path);
        _ended();
    }

    private async Task<DatasetAssembler> AssembleAsync(ContentHash datasetId)
    {
        DatasetAssembler? assembler = null;
        try
        {
            assembler = new DatasetAssembler(datasetId, Path);
            await foreach (var batch in _batches.Reader.ReadAllAsync().ConfigureAwait(false))
            {
                using (batch)
                    await assembler.AppendAsync(batch, CancellationToken.None).ConfigureAwait(false);
            }

            return assembler;
        }
        catch
        {
            _batches.Writer.TryComplete(); // nothing more is taken
            while (_batches.Reader.TryRead(out var left))
                left.Dispose();
            if (assembler is not null)
                await assembler.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }
}
