using Apache.Arrow;
using Apache.Arrow.Ipc;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>Writes the Arrow IPC file of an upload, and checks on the way that it is the dataset that was announced.</summary>
/// <param name="datasetId">What was announced.</param>
/// <param name="path">The file; made, or overwritten.</param>
internal sealed class DatasetAssembler(ContentHash datasetId, string path) : IAsyncDisposable
{
    private const long SyncBytes = 32 << 20; // written back on the way, so that the end waits for little
    private readonly FileStream _file = new(path, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16);
    private ArrowFileWriter? _writer;
    private DatasetHasher? _hasher;
    private DatasetShape? _shape;
    private int _rowsPerBatch;
    private int _lastLength;
    private long _synced;

    /// <summary>Assembles all that came.</summary>
    /// <exception cref="FormatException">It is another dataset; the message says what differs.</exception>
    public static async Task AssembleAsync(PartialUpload upload, string path, long expectedRows, CancellationToken cancellation)
    {
        var assembler = new DatasetAssembler(upload.DatasetId, path);
        await using var closing = assembler.ConfigureAwait(false);
        await foreach (var batch in upload.ReadAsync(cancellation).ConfigureAwait(false))
        {
            using (batch)
                await assembler.AppendAsync(batch, cancellation).ConfigureAwait(false);
        }

        await assembler.CompleteAsync(expectedRows, cancellation).ConfigureAwait(false);
    }

    /// <exception cref="FormatException">It cannot be a batch of this dataset.</exception>
    public async Task AppendAsync(RecordBatch batch, CancellationToken cancellation)
    {
        if (_writer is null)
            await BeginAsync(batch.Schema, cancellation).ConfigureAwait(false);
        if (DatasetSchema.Read(batch.Schema) != _shape)
            throw new FormatException($"Dataset \"{datasetId}\" came in sessions with different schemas. Upload it again.");
        if ((_lastLength != _rowsPerBatch && !_shape.IsSparse) || batch.Length > _rowsPerBatch || batch.Length == 0)
            throw new FormatException($"Dataset \"{datasetId}\" has a batch of {(_lastLength != _rowsPerBatch ? _lastLength : batch.Length)} rows, expected {_rowsPerBatch} in every batch but the last. Encode it with this release.");
        _lastLength = batch.Length;
        _hasher!.Append(batch);
        await _writer!.WriteRecordBatchAsync(batch, cancellation).ConfigureAwait(false);
        if (_file.Position - _synced < SyncBytes)
            return;
        _file.Flush(flushToDisk: true);
        _synced = _file.Position;
    }

    /// <summary>Ends the file and makes it durable.</summary>
    /// <exception cref="FormatException">It is another dataset; the message says what differs.</exception>
    public async Task CompleteAsync(long expectedRows, CancellationToken cancellation)
    {
        if (_hasher is null || _hasher.RowCount != expectedRows)
            throw new FormatException($"Dataset \"{datasetId}\" came with {_hasher?.RowCount ?? 0} rows, expected {expectedRows}. Upload it again.");
        var hash = _hasher.Complete();
        if (hash != datasetId)
            throw new FormatException($"Dataset \"{datasetId}\" came with the hash \"{hash}\": it was damaged on the way or has another id. Upload it again.");
        await _writer!.WriteEndAsync(cancellation).ConfigureAwait(false);
        _file.Flush(flushToDisk: true);
    }

    public async ValueTask DisposeAsync()
    {
        _writer?.Dispose();
        _hasher?.Dispose();
        await _file.DisposeAsync().ConfigureAwait(false);
    }

    private async Task BeginAsync(Schema schema, CancellationToken cancellation)
    {
        _shape = DatasetSchema.Read(schema);
        _rowsPerBatch = _lastLength = DatasetSchema.MostRows(_shape);
        _hasher = new DatasetHasher(_shape);
        _writer = new ArrowFileWriter(_file, schema, leaveOpen: true);
        await _writer.WriteStartAsync(cancellation).ConfigureAwait(false);
    }
}
