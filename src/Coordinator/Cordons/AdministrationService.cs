using Grpc.Core;
using MLDistributed.Coordinator.Cluster;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cordons;

/// <summary>What administrators change.</summary>
internal sealed class AdministrationService(ClusterController cluster, EventLoop loop, Journal journal) : Administration.AdministrationBase
{
    private const string NoReason = "by an operator";

    public override Task<WorkerSnapshot> CordonWorker(CordonWorkerRequest request, ServerCallContext context) =>
        ChangeAsync(() => cluster.Cordon(request.WorkerId, string.IsNullOrWhiteSpace(request.Reason) ? NoReason : request.Reason));

    public override Task<WorkerSnapshot> UncordonWorker(UncordonWorkerRequest request, ServerCallContext context) =>
        ChangeAsync(() => cluster.Uncordon(request.WorkerId));

    // A restart must not let jobs in again.
    private async Task<WorkerSnapshot> ChangeAsync(Func<WorkerSnapshot> change)
    {
        var snapshot = await loop.InvokeAsync(change).ConfigureAwait(false);
        await journal.FlushAsync().ConfigureAwait(false);
        return snapshot;
    }
}
