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
        using var budget = NewBudget();
        return await GetClusterAsync(budget, cancellation).ConfigureAwait(false);
    }

    /// <summary>Fails when the cluster is not there, does not fit, or this client may not run jobs on it: all within one time.</summary>
    public async Task CheckAsync(CancellationToken cancellation)
    {
        using var budget = NewBudget();
        await GetClusterAsync(budget, cancellation).ConfigureAwait(false);
        await CheckMaySubmitAsync(budget, cancellation).ConfigureAwait(false);
    }

    private async Task<ClusterSnapshot> GetClusterAsync(Backoff budget, CancellationToken cancellation)
    {
        try
        {
            var snapshot = (await CallAsync(o => Jobs.GetClusterAsync(new GetClusterRequest(), o), budget, TimeSpan.Zero, cancellation).ConfigureAwait(false)).MakeVisible();
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
            await CallAsync(o => Jobs.CancelJobAsync(new CancelJobRequest(), o), budget, TimeSpan.Zero, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e.InnerException is RpcException { StatusCode: StatusCode.NotFound or StatusCode.InvalidArgument })
        {
            // Allowed, and there is no such job.
        }
    }

    /// <summary>Makes an idempotent call, again and again while the connection is lost.</summary>
    /// <param name="call">The call.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <param name="work">How long the coordinator may need for it, besides what its way takes.</param>
    public async Task<T> CallAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, CancellationToken cancellation, TimeSpan work = default)
    {
        using var backoff = new Backoff(options.ReconnectTimeout, options.Time, countsFromStart: true);
        return await CallAsync(call, backoff, options.ConnectTimeout + work, cancellation).ConfigureAwait(false);
    }

    public void Dispose() => connection.Dispose();

    private Backoff NewBudget() => new(options.ConnectTimeout, options.Time, countsFromStart: true);

    // A host that drops packets, or takes calls and says nothing, answers with nothing: an attempt ends with what is left of the time.
    private async Task<T> CallAsync<T>(Func<CallOptions, AsyncUnaryCall<T>> call, Backoff backoff, TimeSpan least, CancellationToken cancellation)
    {
        RpcException? last = null;
        while (true)
        {
            try
            {
                var limit = backoff.Left > least ? backoff.Left : least;
                return await call(new CallOptions(cancellationToken: cancellation)).AnswerWithinAsync(limit, options.Time).ConfigureAwait(false);
            }
            catch (RpcException e)
            {
                cancellation.ThrowIfCancellationRequested();
                if (!ClusterErrors.IsTransient(e))
                    throw ClusterErrors.Translate(e, Address);

                // That the time was over for the last attempt says less than what the one before met.
                if (last is null || e.StatusCode != StatusCode.DeadlineExceeded)
                    last = e;
                if (!await backoff.WaitAsync(e, cancellation).ConfigureAwait(false))
                    throw ClusterErrors.GaveUp(Address, backoff, last);
            }
        }
    }
}
