using Grpc.Core;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The coordinator's services, and calls on them that outlast a lost connection.</summary>
internal sealed class CoordinatorClient(ClusterConnection connection, TrainingClusterOptions options) : IDisposable
{
    public Uri Address => connection.Address;

    public TrainingClusterOptions Options => options;

    public CallInvoker Invoker => connection.Invoker;

    public Jobs.JobsClient Jobs { get; } = new(connection.Invoker);

    public Datasets.DatasetsClient Datasets { get; } = new(connection.Invoker);

    public Blobs.BlobsClient Blobs { get; } = new(connection.Invoker);

    /// <summary>The cluster as it is, after a check that the two sides fit together.</summary>
    public Task<ClusterSnapshot> GetClusterAsync(CancellationToken cancellation) => GetClusterAsync(NewBudget(), cancellation);

    /// <summary>Fails when the cluster is not there, does not fit, or this client may not run jobs on it: all within one time.</summary>
    public async Task CheckAsync(CancellationToken cancellation)
    {
        var budget = NewBudget();
        await GetClusterAsync(budget, cancellation).ConfigureAwait(false);
        await CheckMaySubmitAsync(budget, cancellation).ConfigureAwait(false);
    }

    private async Task<ClusterSnapshot> GetClusterAsync(Backoff budget, CancellationToken cancellation)
    {
        try
        {
            var snapshot = await ProbeAsync(o => Jobs.GetClusterAsync(new GetClusterRequest(), o), budget, cancellation).ConfigureAwait(false);
            return snapshot.ProtocolVersion == ProtocolVersion.Current
                ? snapshot
                : throw ClusterErrors.OtherProtocol(Address, $"it has version {snapshot.ProtocolVersion} (release {snapshot.Version}).");
        }
        catch (ClusterException e) when (e.InnerException is RpcException { StatusCode: StatusCode.FailedPrecondition } refusal)
        {
            throw ClusterErrors.OtherProtocol(Address, ConnectionFailure.Describe(refusal), refusal);
        }
    }

    // A key may look but run no jobs: this asks for a call with that scope, about no job.
    private async Task CheckMaySubmitAsync(Backoff budget, CancellationToken cancellation)
    {
        try
        {
            await ProbeAsync(o => Jobs.CancelJobAsync(new CancelJobRequest(), o), budget, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e.InnerException is RpcException { StatusCode: StatusCode.NotFound or StatusCode.InvalidArgument })
        {
            // Allowed, and there is no such job.
        }
    }

    /// <summary>Makes an idempotent call, again and again while the connection is lost.</summary>
    public Task<T> CallAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellation) =>
        CallAsync(call, new Backoff(options.ReconnectTimeout, options.Time), cancellation);

    public void Dispose() => connection.Dispose();

    private Backoff NewBudget() => new(options.ConnectTimeout, options.Time, countsFromStart: true);

    // A host that drops packets answers with nothing: an attempt ends with what is left of the time.
    private Task<T> ProbeAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, Backoff budget, CancellationToken cancellation) => CallAsync(
        o => call(o.WithDeadline((options.Time.GetUtcNow() + budget.Left).UtcDateTime)),
        budget,
        cancellation);

    private async Task<T> CallAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, Backoff backoff, CancellationToken cancellation)
    {
        RpcException? last = null;
        while (true)
        {
            try
            {
                return await call(new CallOptions(cancellationToken: cancellation)).ResponseAsync.ConfigureAwait(false);
            }
            catch (RpcException e)
            {
                cancellation.ThrowIfCancellationRequested();
                if (!ClusterErrors.IsTransient(e))
                    throw ClusterErrors.Translate(e, Address);

                // That the time was over for the last attempt says less than what the one before met.
                if (last is null || e.StatusCode != StatusCode.DeadlineExceeded)
                    last = e;
                if (!await backoff.WaitAsync(cancellation).ConfigureAwait(false))
                    throw ClusterErrors.NotThere(Address, backoff.Attempts, backoff.Spent, last);
            }
        }
    }
}
