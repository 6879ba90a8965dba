using Grpc.Core;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>What Flight has no words for: whether a dataset is there, how much of it, and taking over a local file.</summary>
internal sealed class DatasetsService(DatasetStore store, DatasetArchive archive, Ownership ownership, Journal journal) : Protocol.Datasets.DatasetsBase
{
    public override async Task<FindDatasetReply> FindDataset(FindDatasetRequest request, ServerCallContext context)
    {
        var id = ParseId(request.DatasetId);
        var caller = Caller.Of(context);
        var complete = await ownership.MayUseAsync(caller, id, context.CancellationToken).ConfigureAwait(false) && await store.TryClaimAsync(id, context.CancellationToken).ConfigureAwait(false);
        if (complete)
            store.MarkUsed(id);
        var local = caller.IsLocal;
        return new FindDatasetReply
        {
            Complete = complete,
            ReceivedBatches = complete ? 0 : await store.CountAsync(id, caller.Tenant, context.CancellationToken).ConfigureAwait(false),
            AdoptsFiles = local,
            IncomingFolder = local ? store.IncomingFolder : "",
        };
    }

    public override async Task<FindDatasetReply> AdoptDataset(AdoptDatasetRequest request, ServerCallContext context)
    {
        var id = ParseId(request.DatasetId);
        var caller = Caller.Of(context);
        if (!caller.IsLocal)
            throw new RpcException(new Status(StatusCode.PermissionDenied, "AdoptDataset came over the network, expected the coordinator's Unix socket. Upload the dataset by Arrow Flight."));
        if (request.RowCount < 1)
            throw new RpcException(new Status(StatusCode.InvalidArgument, $"Row count is {request.RowCount}, expected at least 1."));
        try
        {
            await store.AdoptAsync(id, request.Path, request.RowCount, caller.Tenant, context.CancellationToken).ConfigureAwait(false);
        }
        catch (FormatException e)
        {
            throw new RpcException(new Status(StatusCode.DataLoss, e.Message));
        }
        catch (ArgumentException e)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, e.Message));
        }

        await journal.FlushAsync().ConfigureAwait(false);
        return new FindDatasetReply { Complete = true, AdoptsFiles = true, IncomingFolder = store.IncomingFolder };
    }

    public override async Task<ListDatasetsReply> ListDatasets(ListDatasetsRequest request, ServerCallContext context)
    {
        var reply = new ListDatasetsReply();
        reply.Datasets.Add(await archive.ListAsync(Caller.Of(context), request, context.CancellationToken).ConfigureAwait(false));
        return reply;
    }

    internal static ContentHash ParseId(string text) => ContentHash.TryParse(text, out var id)
        ? id
        : throw new RpcException(new Status(StatusCode.InvalidArgument, $"Dataset id is \"{text}\", expected {ContentHash.Expectation}."));
}
