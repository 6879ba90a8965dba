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
        RequireId(request.DatasetId);
        var caller = Caller.Of(context);
        var complete = await ownership.MayUseAsync(caller, request.DatasetId, context.CancellationToken).ConfigureAwait(false) && await store.TryClaimAsync(request.DatasetId, context.CancellationToken).ConfigureAwait(false);
        if (complete)
            store.MarkUsed(request.DatasetId);
        var local = caller.IsLocal;
        return new FindDatasetReply
        {
            Complete = complete,
            ReceivedBatches = complete ? 0 : await store.CountAsync(request.DatasetId, caller.Tenant, context.CancellationToken).ConfigureAwait(false),
            AdoptsFiles = local,
            IncomingFolder = local ? store.IncomingFolder : "",
        };
    }

    public override async Task<FindDatasetReply> AdoptDataset(AdoptDatasetRequest request, ServerCallContext context)
    {
        RequireId(request.DatasetId);
        var caller = Caller.Of(context);
        if (!caller.IsLocal)
            throw new RpcException(new Status(StatusCode.PermissionDenied, "AdoptDataset came over the network, expected the coordinator's Unix socket. Upload the dataset by Arrow Flight."));
        if (request.RowCount < 1)
            throw new RpcException(new Status(StatusCode.InvalidArgument, $"Row count is {request.RowCount}, expected at least 1."));
        try
        {
            await store.AdoptAsync(request.DatasetId, request.Path, request.RowCount, caller.Tenant, context.CancellationToken).ConfigureAwait(false);
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

    internal static void RequireId(string id)
    {
        if (!ContentHash.TryParse(id, out _))
            throw new RpcException(new Status(StatusCode.InvalidArgument, $"Dataset id is \"{id}\", expected 64 lower-case hexadecimal digits."));
    }
}
