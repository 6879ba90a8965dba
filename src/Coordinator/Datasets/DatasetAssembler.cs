using Apache.Arrow;
using Apache.Arrow.Ipc;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>Writes the Arrow IPC file of an upload, and checks on the way that it is the dataset that was announced.</summary>
internal static class DatasetAssembler
{
    /// <exception cref="FormatException">It is not; the message says what differs.</exception>
    public static async Task AssembleAsync(PartialUpload upload, string path, long expectedRows, CancellationToken cancellation)
    {
        ArrowFileWriter? writer = null;
        DatasetHasher? hasher = null;
        var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16);
        await using (file.ConfigureAwait(false))
        try
        {
            Schema? schema = null;
            var lastLength = 0;
            var rowsPerBatch = 0;
            await foreach (var batch in upload.ReadAsync(cancellation).ConfigureAwait(false))
            {
                using (batch)
                {
                    if (schema is null)
                    {
                        schema = batch.Schema;
                        var shape = DatasetSchema.Read(schema);
                        rowsPerBatch = lastLength = DatasetSchema.RowsPerBatch(shape.FeatureSize);
                        hasher = new DatasetHasher(shape);
                        writer = new ArrowFileWriter(file, schema, leaveOpen: true);
                        await writer.WriteStartAsync(cancellation).ConfigureAwait(false);
                    }

                    if (DatasetSchema.Read(batch.Schema) != DatasetSchema.Read(schema))
                        throw new FormatException($"Dataset \"{upload.DatasetId}\" came in sessions with different schemas. Upload it again.");
                    if (lastLength != rowsPerBatch || batch.Length > rowsPerBatch || batch.Length == 0)
                        throw new FormatException($"Dataset \"{upload.DatasetId}\" has a batch of {(lastLength != rowsPerBatch ? lastLength : batch.Length)} rows, expected {rowsPerBatch} in every batch but the last. Encode it with this release.");
                    lastLength = batch.Length;
                    hasher!.Append(batch);
                    await writer!.WriteRecordBatchAsync(batch, cancellation).ConfigureAwait(false);
                }
            }

            Check(upload.DatasetId, hasher, expectedRows);
            await writer!.WriteEndAsync(cancellation).ConfigureAwait(false);
            file.Flush(flushToDisk: true);
        }
        finally
        {
            writer?.Dispose();
            hasher?.Dispose();
        }
    }

    private static void Check(string id, DatasetHasher? hasher, long expectedRows)
    {
        if (hasher is null || hasher.RowCount != expectedRows)
            throw new FormatException($"Dataset \"{id}\" came with {hasher?.RowCount ?? 0} rows, expected {expectedRows}. Upload it again.");
        var hash = hasher.Complete();
        if (hash != id)
            throw new FormatException($"Dataset \"{id}\" came with the hash \"{hash}\": it was damaged on the way or has another id. Upload it again.");
    }
}
