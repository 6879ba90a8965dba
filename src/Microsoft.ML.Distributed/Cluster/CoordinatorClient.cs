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
    public async Task<ClusterSnapshot> GetClusterAsync(CancellationToken cancellation)
    {
        try
        {
            var snapshot = await ProbeAsync(o => Jobs.GetClusterAsync(new GetClusterRequest(), o), cancellation).ConfigureAwait(false);
            return snapshot.ProtocolVersion == ProtocolVersion.Current
                ? snapshot
                : throw ClusterErrors.OtherProtocol(Address, $"it has version {snapshot.ProtocolVersion} (release {snapshot.Version}).");
        }
        catch (ClusterException e) when (e.InnerException is RpcException { StatusCode: StatusCode.FailedPrecondition } refusal)
        {
            throw ClusterErrors.OtherProtocol(Address, ConnectionFailure.Describe(refusal), refusal);
        }
    }

    /// <summary>Fails when the key may look but run no jobs: asks for a call with that scope, about no job.</summary>
    public async Task CheckMaySubmitAsync(CancellationToken cancellation)
    {
        try
        {
            await ProbeAsync(o => Jobs.CancelJobAsync(new CancelJobRequest(), o), cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e.InnerException is RpcException { StatusCode: StatusCode.NotFound or StatusCode.InvalidArgument })
        {
            // Allowed, and there is no such job.
        }
    }

    /// <summary>Makes an idempotent call, again and again while the connection is lost.</summary>
    public Task<T> CallAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellation) =>
        CallAsync(call, options.ReconnectTimeout, cancellation);

    public void Dispose() => connection.Dispose();

    // A host that drops packets answers with nothing: each attempt ends, so that the attempts do.
    private Task<T> ProbeAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellation) => CallAsync(
        o => call(o.WithDeadline((options.Time.GetUtcNow() + options.ConnectTimeout).UtcDateTime)),
        options.ConnectTimeout,
        cancellation);

    private async Task<T> CallAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, TimeSpan patience, CancellationToken cancellation)
    {
        var backoff = new Backoff(patience, options.Time);
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
                if (!await backoff.WaitAsync(cancellation).ConfigureAwait(false))
                    throw ClusterErrors.NotThere(Address, backoff.Attempts, backoff.Spent, e);
            }
        }
    }
}
