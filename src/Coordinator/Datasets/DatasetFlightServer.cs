using System.Globalization;
using Apache.Arrow;
using Grpc.Core;
using MLDistributed.Coordinator.Flight;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>
/// Receives datasets by Arrow Flight's DoPut, descriptor path [dataset id]; a cut upload goes on where it ended. What the
/// messages say of themselves is compared with what our own encoder writes before Arrow sees them.
/// </summary>
internal sealed class DatasetFlightServer(DatasetStore store, Ownership ownership, Journal journal, CoordinatorOptions options, IHostApplicationLifetime lifetime, ILogger<DatasetFlightServer> logger)
    : FlightService.FlightServiceBase
{
    private const long BatchBytes = 4 << 20; // about what the format puts into one
    private const string FirstBatchHeader = "mldist-first-batch";
    private const string RowsHeader = "mldist-rows";
    private readonly DatasetLog _log = new(logger);

    public override async Task DoPut(IAsyncStreamReader<FlightData> requestStream, IServerStreamWriter<PutResult> responseStream, ServerCallContext context)
    {
        var firstBatch = Number(context, FirstBatchHeader);
        var rows = Number(context, RowsHeader);
        using var stop = CallEnd.Of(context, lifetime);
        try
        {
            if (!await requestStream.NextAsync(stop.Token).ConfigureAwait(false) || requestStream.Current.DataHeader.IsEmpty)
                throw Invalid("The flight has no schema, expected one before the first batch, and also when no batch is left to be sent.");
            var id = DatasetIdOf(requestStream.Current.FlightDescriptor);
            var shape = DatasetMetadata.ReadSchema(requestStream.Current.DataHeader.Span);
            // Who did not send it himself must show that he has it: an id alone proves nothing.
            if (!await ownership.MayUseAsync(Caller.Of(context), id, context.CancellationToken).ConfigureAwait(false) || !store.IsKnownWhole(id))
            {
                var upload = store.Partial(id, Caller.Of(context).Tenant);
                try
                {
                    await ReceiveAsync(requestStream, upload, shape, firstBatch, rows, Caller.Of(context).Tenant, stop.Token).ConfigureAwait(false);
                }
                finally
                {
                    store.Return(upload);
                }
            }
        }
        catch (FormatException e)
        {
            throw Invalid(e.Message);
        }

        await responseStream.WriteAsync(new PutResult()).ConfigureAwait(false);
    }

    private async Task ReceiveAsync(IAsyncStreamReader<FlightData> messages, PartialUpload upload, DatasetShape shape, long firstBatch, long rows, string tenant, CancellationToken cancellation)
    {
        var id = upload.DatasetId;
        var schema = DatasetSchema.Create(shape);
        var session = await upload.BeginAsync(cancellation).ConfigureAwait(false);
        LiveAssembly? live = null;
        await using (session.ConfigureAwait(false))
        try
        {
            var received = await upload.CountAsync(session.Cancellation).ConfigureAwait(false);
            if (firstBatch != received)
                throw new RpcException(new Status(StatusCode.FailedPrecondition, $"The stream starts at batch {firstBatch}, expected batch {received}: that many of dataset \"{id}\" are here. Ask FindDataset and go on from there."));
            _log.Receiving(id, firstBatch);
            live = firstBatch == 0 ? store.TryAssembleLive(id) : null;
            while (await messages.NextAsync(session.Cancellation).ConfigureAwait(false))
            {
                var batch = Decode(messages.Current, schema, shape);
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
            await CompleteAsync(upload, live, rows, tenant, session.Cancellation).ConfigureAwait(false);
            _log.Complete(id, rows);
        }
        catch (StoreException)
        {
            // What is here of it would keep the disk full.
            await session.CloseAsync().ConfigureAwait(false);
            upload.Delete();
            throw;
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
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

    // What came is whole, and not what was announced: worth sending again.
    private async Task CompleteAsync(PartialUpload upload, LiveAssembly? live, long rows, string tenant, CancellationToken cancellation)
    {
        try
        {
            await store.CompleteAsync(upload, live, rows, tenant, cancellation).ConfigureAwait(false);
        }
        catch (FormatException e)
        {
            throw new RpcException(new Status(StatusCode.DataLoss, e.Message));
        }

        await journal.FlushAsync().ConfigureAwait(false);
    }

    private static RecordBatch Decode(FlightData message, Schema schema, DatasetShape shape)
    {
        var layout = DatasetMetadata.ReadBatch(message.DataHeader.Span, shape, message.DataBody.Length);
        var most = DatasetSchema.MostRows(shape);
        if (layout.Rows < 1 || layout.Rows > most || message.DataBody.Length > DatasetMetadata.MaxBodyBytes(shape))
            throw new FormatException($"A record batch has {layout.Rows} rows in {message.DataBody.Length} bytes, expected 1 to {most} of {shape.FeatureSize} features each. Encode the data again with this version.");
        return DatasetReader.Wrap(schema, shape, layout, message.DataBody.Memory);
    }

    private static ContentHash DatasetIdOf(FlightDescriptor? descriptor)
    {
        return descriptor is { Path: [var id] }
            ? DatasetsService.ParseId(id)
            : throw Invalid($"The flight descriptor's path has {descriptor?.Path.Count ?? 0} parts, expected [dataset id].");
    }

    private static RpcException Invalid(string message) => new(new Status(StatusCode.InvalidArgument, message));

    private static long Number(ServerCallContext context, string header)
    {
        string? text = context.GetHttpContext().Request.Headers[header];
        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw Invalid($"Metadata \"{header}\" is \"{text}\", expected a whole number of at least 0.");
    }
}

internal sealed partial class DatasetLog(ILogger logger)
{
    [LoggerMessage(301, LogLevel.Information, "Receiving dataset {DatasetId} from batch {FirstBatch} on")]
    public partial void Receiving(ContentHash datasetId, long firstBatch);

    [LoggerMessage(302, LogLevel.Information, "Dataset {DatasetId} is complete with {Rows} rows")]
    public partial void Complete(ContentHash datasetId, long rows);
}
