using System.Security.Authentication;
using Grpc.Core;
using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;

namespace MLDistributed.Worker.Connections;

/// <summary>What the link asks of the agent and tells it.</summary>
internal interface ILinkOwner
{
    Task<Hello> CreateHelloAsync();

    Task<Heartbeat> CreateHeartbeatAsync();

    void OnCommand(WorkerCommand command);
}

/// <summary>The agent's stream to the coordinator, opened again for as long as the agent lives.</summary>
internal sealed class CoordinatorLink(AgentOptions options, string identityPath, Outbox outbox, ILinkOwner owner, AgentLog log) : IDisposable
{
    private static readonly TimeSpan WelcomeTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan LogInterval = TimeSpan.FromMinutes(1);
    private const double DefaultHeartbeatSeconds = 1;
    private const string NewToken = "Make one on the coordinator's machine with \"mldist tokens create --data D\", D being the coordinator's data folder, and start this worker with what it prints in MLDIST_JOIN_TOKEN, or in a file that --token-file names.";

    private readonly TimeProvider _time = options.Time;
    private volatile ClusterConnection _connection = Open(options, null);
    private volatile Session? _session;
    private bool _welcomed;
    private string? _credentialRefusal;
    private WorkerIdentity? _joined;
    private WorkerIdentity? _known; // should the file vanish

    /// <summary>For calls beside the stream. Another one after every outage: take it anew for each try.</summary>
    public CallInvoker Invoker => _connection.Invoker;

    /// <exception cref="AgentException">The coordinator refuses this worker for good.</exception>
    public async Task RunAsync(CancellationToken cancellation)
    {
        var lost = _time.GetTimestamp();
        long? logged = null;
        while (true)
        {
            string reason;
            try
            {
                await ConnectAsync(cancellation).ConfigureAwait(false);
                reason = "the coordinator closed the stream";
            }
            catch (Exception e) when (!cancellation.IsCancellationRequested && e is RpcException or IOException or TimeoutException or OperationCanceledException or ObjectDisposedException or InvalidOperationException)
            {
                if (Refusal(e) is { } refusal && !ForgetCredential(e))
                    throw refusal;
                // What broke the connection says more than gRPC, which quotes it twice.
                reason = e is RpcException rpc
                    ? (rpc.Status.DebugException?.GetBaseException().Message ?? rpc.Status.Detail).TrimEnd('.') + ConnectionFailure.SchemeHint(rpc, options.Coordinator).TrimEnd('.').Replace(" If", "; if", StringComparison.Ordinal)
                    : e.Message.TrimEnd('.');
            }

            cancellation.ThrowIfCancellationRequested();
            outbox.Rewind();
            if (_welcomed)
                (lost, logged, _welcomed) = (_time.GetTimestamp(), null, false);
            var outage = _time.GetElapsedTime(lost);
            if (logged is null ? outage > TimeSpan.FromSeconds(1) : _time.GetElapsedTime(logged.Value) >= LogInterval)
            {
                log.Disconnected(options.Coordinator, (long)outage.TotalSeconds, reason);
                logged = _time.GetTimestamp();
            }

            await Task.Delay(Backoff.Delay(outage, Random.Shared.NextDouble()), _time, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Sends what waits and closes the stream in an orderly way, within a time.</summary>
    public async Task LeaveAsync(TimeSpan timeout)
    {
        if (_session is { } session)
            await session.CompleteAsync(outbox.Drained).WaitAsync(timeout, _time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public void Dispose() => _connection.Dispose();

    // A token given beside a credential that is refused (of another coordinator, or revoked) is used instead of it, once.
    private bool ForgetCredential(Exception e)
    {
        if (e is not RpcException { Status: { StatusCode: StatusCode.Unauthenticated } status } || options.Token is null || _credentialRefusal is not null || !File.Exists(identityPath))
            return false;
        File.Delete(identityPath);
        _known = null;
        _credentialRefusal = status.Detail;
        return true;
    }

    // A failure that another try cannot mend. After the welcome these codes speak of the session, not of the worker.
    private AgentException? Refusal(Exception e)
    {
        for (var inner = e; inner is not null; inner = inner.InnerException)
            if (inner is UntrustedCertificateException)
                return new AgentException($"The certificate of \"{options.Coordinator}\" is not trusted ({inner.Message}), expected one of a known authority or with the given fingerprint. Check --fingerprint against what the coordinator printed.", e);
        if (ConnectionFailure.IsTlsMismatch(e))
            return new AgentException($"\"{options.Coordinator}\" cannot be spoken with ({e.GetBaseException().Message.TrimEnd('.')}), expected a coordinator that listens on https://. If it listens on http://, on this machine, write http:// here.", e);
        if (_welcomed || e is not RpcException { Status: var status })
            return null;
        return status.StatusCode switch
        {
            StatusCode.Unauthenticated or StatusCode.PermissionDenied => new AgentException($"Coordinator \"{options.Coordinator}\" refuses this worker ({Words(status)}), expected a valid token or credential. {NewToken}", e),
            StatusCode.FailedPrecondition => new AgentException($"Coordinator \"{options.Coordinator}\" refuses this worker ({status.Detail}), expected protocol version {ProtocolVersion.Current} on both sides. Use the same version of mldist.", e),
            StatusCode.InvalidArgument => new AgentException($"Coordinator \"{options.Coordinator}\" refuses this worker: {status.Detail}", e),
            StatusCode.Unimplemented => new AgentException($"\"{options.Coordinator}\" does not know workers ({status.Detail}), expected the address of a coordinator.", e),
            _ => null,
        };
    }

    // Why the credential was refused comes first: it is the reason that the token was tried at all.
    private string Words(Status status) => string.Join("; ", new[] { _credentialRefusal, status.Detail }.OfType<string>().Select(w => w.TrimEnd('.')));

    private async Task ConnectAsync(CancellationToken cancellation)
    {
        var identity = await IdentifyAsync(cancellation).ConfigureAwait(false);
        // A new channel a try: an old one's own backoff could sit out up to two minutes.
        Replace(Open(options, identity.Credential));
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        using var call = new Workers.WorkersClient(_connection.Invoker).Connect(cancellationToken: ended.Token);
        var hello = await owner.CreateHelloAsync().ConfigureAwait(false);
        hello.WorkerId = identity.WorkerId;
        await call.RequestStream.WriteAsync(new WorkerMessage { Hello = hello }, ended.Token).ConfigureAwait(false);
        var welcome = await ReadWelcomeAsync(call, ended.Token).ConfigureAwait(false);
        _welcomed = true;
        log.Connected(options.Coordinator, identity.WorkerId, welcome.Welcome.SessionEpoch);
        if (options.Coordinator.Scheme != UnixSocketAddress.Scheme)
            welcome.Welcome.SharedStore = ""; // no other machine names paths on this one
        owner.OnCommand(welcome);

        var session = new Session(call, welcome.Welcome.SessionEpoch, ended.Token);
        var seconds = welcome.Welcome.HeartbeatSeconds > 0 ? welcome.Welcome.HeartbeatSeconds : DefaultHeartbeatSeconds;
        Task[] parts = [
            outbox.PumpAsync(session.SendAsync, ended.Token),
            BeatAsync(session, TimeSpan.FromSeconds(seconds), ended.Token),
            session.Received = ReceiveAsync(call, ended.Token),
        ];
        _session = session;
        try
        {
            // The first part to end ends the session, by its exception if it has one.
            await (await Task.WhenAny(parts).ConfigureAwait(false)).ConfigureAwait(false);
        }
        finally
        {
            _session = null;
            await ended.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(parts).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task<WorkerIdentity> IdentifyAsync(CancellationToken cancellation)
    {
        // A token admits once: what it brought counts also where it could not be saved.
        var stored = WorkerIdentity.Load(identityPath);
        var identity = _joined ?? stored ?? _known;
        if (options.Coordinator.Scheme == UnixSocketAddress.Scheme)
            identity ??= new WorkerIdentity(Guid.NewGuid().ToString("N"), null);
        else if (identity?.Credential is null)
            identity = _joined = await JoinAsync(cancellation).ConfigureAwait(false);
        _known = identity;
        if (identity != stored)
            identity.Save(identityPath);
        _joined = null;
        return identity;
    }

    private async Task<WorkerIdentity> JoinAsync(CancellationToken cancellation)
    {
        if (options.Token is null)
            throw new AgentException($"This worker has no credential for \"{options.Coordinator}\", expected a join token. {NewToken}");
        Replace(Open(options, null));
        var reply = await new Workers.WorkersClient(_connection.Invoker)
            .JoinAsync(new JoinRequest { Token = options.Token, Host = options.Host }, deadline: DateTimeFromNow(WelcomeTimeout), cancellationToken: cancellation)
            .ConfigureAwait(false);
        return new WorkerIdentity(reply.WorkerId, reply.Credential);
    }

    private async Task<WorkerCommand> ReadWelcomeAsync(AsyncDuplexStreamingCall<WorkerMessage, WorkerCommand> call, CancellationToken cancellation)
    {
        if (!await call.ResponseStream.MoveNext(cancellation).WaitAsync(WelcomeTimeout, _time, cancellation).ConfigureAwait(false))
            throw new IOException("the coordinator closed the stream");
        return call.ResponseStream.Current.CommandCase == WorkerCommand.CommandOneofCase.Welcome
            ? call.ResponseStream.Current
            : throw new IOException("the coordinator's first word was no welcome");
    }

    private async Task ReceiveAsync(AsyncDuplexStreamingCall<WorkerMessage, WorkerCommand> call, CancellationToken cancellation)
    {
        while (await call.ResponseStream.MoveNext(cancellation).ConfigureAwait(false))
            owner.OnCommand(call.ResponseStream.Current);
    }

    private async Task BeatAsync(Session session, TimeSpan interval, CancellationToken cancellation)
    {
        using var timer = new PeriodicTimer(interval, _time);
        while (await timer.WaitForNextTickAsync(cancellation).ConfigureAwait(false))
            await session.SendAsync(new WorkerMessage { Heartbeat = await owner.CreateHeartbeatAsync().WaitAsync(cancellation).ConfigureAwait(false) }).ConfigureAwait(false);
    }

    private void Replace(ClusterConnection connection)
    {
        var old = Interlocked.Exchange(ref _connection, connection);
        old.Dispose();
    }

    private DateTime DateTimeFromNow(TimeSpan timeout) => _time.GetUtcNow().UtcDateTime + timeout;

    private static ClusterConnection Open(AgentOptions options, string? credential) =>
        ClusterConnection.Open(options.Coordinator, credential, options.Fingerprint);

    /// <summary>One stream: writes one message at a time, each with the session's epoch.</summary>
    private sealed class Session(AsyncDuplexStreamingCall<WorkerMessage, WorkerCommand> call, long epoch, CancellationToken ended)
    {
        private readonly SemaphoreSlim _gate = new(1);

        public Task Received { get; set; } = Task.CompletedTask;

        /// <summary>Half-closes after the last message, for which it keeps the gate; the coordinator then closes its side.</summary>
        public async Task CompleteAsync(Task drained)
        {
            await drained.ConfigureAwait(false);
            await _gate.WaitAsync(ended).ConfigureAwait(false);
            await call.RequestStream.CompleteAsync().ConfigureAwait(false);
            await Received.ConfigureAwait(false);
        }

        public async Task SendAsync(WorkerMessage message)
        {
            await _gate.WaitAsync(ended).ConfigureAwait(false);
            try
            {
                message.SessionEpoch = epoch;
                await call.RequestStream.WriteAsync(message, ended).ConfigureAwait(false);
            }
            finally
            {
                _gate.Release();
            }
        }
    }
}
