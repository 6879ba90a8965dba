using System.Globalization;
using Apache.Arrow;
using Apache.Arrow.Flight;
using Apache.Arrow.Flight.Server;
using Grpc.Core;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>Receives datasets by Arrow Flight's DoPut, descriptor path [dataset id]; a cut upload goes on where it ended.</summary>
internal sealed class DatasetFlightServer(DatasetStore store, Ownership ownership, Journal journal, CoordinatorOptions options, IHostApplicationLifetime lifetime, ILogger<DatasetFlightServer> logger)
    : FlightServer
{
    private const long BatchBytes = 4 << 20; // about what the format puts into one
    private const string FirstBatchHeader = "mldist-first-batch";
    private const string RowsHeader = "mldist-rows";
    private readonly DatasetLog _log = new(logger);

    public override async Task DoPut(FlightServerRecordBatchStreamReader requestStream, IAsyncStreamWriter<FlightPutResult> responseStream, ServerCallContext context)
    {
        var firstBatch = Number(context, FirstBatchHeader);
        var rows = Number(context, RowsHeader);
        var id = await DatasetIdAsync(requestStream).ConfigureAwait(false);
        var schema = await SchemaAsync(requestStream).ConfigureAwait(false);
        // Who did not send it himself must show that he has it: an id alone proves nothing.
        if (!await ownership.MayUseAsync(Caller.Of(context), id, context.CancellationToken).ConfigureAwait(false) || !store.Contains(id))
        {
            var upload = store.Partial(id, Caller.Of(context).Tenant);
            try
            {
                await ReceiveAsync(requestStream, upload, schema, firstBatch, rows, context).ConfigureAwait(false);
            }
            finally
            {
                store.Return(upload);
            }
        }

        await responseStream.WriteAsync(new FlightPutResult()).ConfigureAwait(false);
    }

    private async Task ReceiveAsync(
        FlightServerRecordBatchStreamReader requestStream, PartialUpload upload, Schema schema, long firstBatch, long rows, ServerCallContext context)
    {
        var (id, tenant) = (upload.DatasetId, Caller.Of(context).Tenant);
        using var stop = CallEnd.Of(context, lifetime);
        var session = await upload.BeginAsync(stop.Token).ConfigureAwait(false);
        LiveAssembly? live = null;
        await using (session.ConfigureAwait(false))
        try
        {
            var received = await upload.CountAsync(session.Cancellation).ConfigureAwait(false);
            if (firstBatch != received)
                throw new RpcException(new Status(StatusCode.FailedPrecondition, $"The stream starts at batch {firstBatch}, expected batch {received}: that many of dataset \"{id}\" are here. Ask FindDataset and go on from there."));
            _log.Receiving(id, firstBatch);
            live = firstBatch == 0 ? store.TryAssembleLive(id) : null;
            while (await requestStream.NextAsync(session.Cancellation).ConfigureAwait(false))
            {
                var batch = requestStream.Current;
                StoreException.RequireRoom($"Dataset \"{id}\"", store.Folder, BatchBytes, options.MinFreeBytes);
                await session.AppendAsync(schema, batch).ConfigureAwait(false);
                if (upload.Bytes > options.MaxUploadBytes)
                    await RefuseAsync(upload, session).ConfigureAwait(false);
                if (live is null)
                    batch.Dispose();
                else
                    await live.AddAsync(batch, session.Cancellation).ConfigureAwait(false);
            }

            await session.CloseAsync().ConfigureAwait(false);
            await store.CompleteAsync(upload, live, rows, tenant, session.Cancellation).ConfigureAwait(false);
            await journal.FlushAsync().ConfigureAwait(false);
            _log.Complete(id, rows);
        }
        catch (FormatException e)
        {
            throw new RpcException(new Status(StatusCode.DataLoss, e.Message));
        }
        catch (StoreException)
        {
            // What is here of it would keep the disk full.
            await session.CloseAsync().ConfigureAwait(false);
            upload.Delete();
            throw;
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.Aborted, $"Another upload of dataset \"{id}\" took over. Ask FindDataset and go on from there."));
        }
        finally
        {
            if (live is not null)
                await live.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task RefuseAsync(PartialUpload upload, PartialUpload.Session session)
    {
        await session.CloseAsync().ConfigureAwait(false);
        upload.Delete();
        throw new RpcException(new Status(StatusCode.ResourceExhausted, $"Dataset \"{upload.DatasetId}\" is larger than {options.MaxUploadBytes} bytes, the coordinator's limit. Send fewer rows, or raise MaxUploadBytes."));
    }

    private static async Task<string> DatasetIdAsync(FlightServerRecordBatchStreamReader stream)
    {
        var path = (await DescriptorAsync(stream).ConfigureAwait(false))?.Paths?.ToArray() ?? [];
        if (path.Length != 1)
            throw new RpcException(new Status(StatusCode.InvalidArgument, $"The flight descriptor's path is [{string.Join(", ", path)}], expected [dataset id]."));
        DatasetsService.RequireId(path[0]);
        return path[0];
    }

    private static async Task<FlightDescriptor?> DescriptorAsync(FlightServerRecordBatchStreamReader stream)
    {
        try
        {
            return await stream.FlightDescriptor.ConfigureAwait(false);
        }
        catch (Exception e) when (e.GetType() == typeof(Exception)) // what Arrow throws for a stream without a schema
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, "The flight has no schema, expected one before the first batch, and also when no batch is left to be sent."));
        }
    }

    private static async Task<Schema> SchemaAsync(FlightServerRecordBatchStreamReader stream)
    {
        var schema = await stream.Schema.ConfigureAwait(false);
        try
        {
            DatasetSchema.Read(schema);
            return schema;
        }
        catch (FormatException e)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, e.Message));
        }
    }

    private static long Number(ServerCallContext context, string header)
    {
        var text = context.RequestHeaders.GetValue(header);
        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw new RpcException(new Status(StatusCode.InvalidArgument, $"Metadata \"{header}\" is \"{text}\", expected a whole number of at least 0."));
    }
}

internal sealed partial class DatasetLog(ILogger logger)
{
    [LoggerMessage(301, LogLevel.Information, "Receiving dataset {DatasetId} from batch {FirstBatch} on")]
    public partial void Receiving(string datasetId, long firstBatch);

    [LoggerMessage(302, LogLevel.Information, "Dataset {DatasetId} is complete with {Rows} rows")]
    public partial void Complete(string datasetId, long rows);
}
