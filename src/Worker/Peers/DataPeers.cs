using System.Collections.Concurrent;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Security.Cryptography;
using Grpc.Core;
using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Networks;

namespace MLDistributed.Worker.Peers;

/// <summary>
/// The other workers of an attempt as sources of its datasets, and this one as theirs, until all are ready. Nothing depends on
/// them: what they do not give, the coordinator does.
/// </summary>
/// <param name="start">The attempt, which has several workers.</param>
/// <param name="tell">Gets this worker's offer to the others.</param>
/// <param name="say">Tells the job of it.</param>
internal sealed class DataPeers(StartAttempt start, WorkerNetwork network, Action<DataOffer> tell, Action<LogLevel, string> say, TimeProvider time, AgentLog log) : IAsyncDisposable
{
    /// <summary>Datasets of fewer bytes come from the coordinator alone: they are here before connections between workers are.</summary>
    public const long LeastBytes = 16 << 20;

    /// <summary>How long a worker may say nothing, of where it is or on a call, before the coordinator is asked.</summary>
    public static readonly TimeSpan SilenceLimit = TimeSpan.FromSeconds(5);

    private readonly TaskCompletionSource<DataOffer>[] _offers = [.. start.Participants.Select(_ => new TaskCompletionSource<DataOffer>(TaskCreationOptions.RunContinuationsAsynchronously))];
    private readonly ConcurrentDictionary<int, ClusterConnection> _connections = [];
    private readonly PeerBlobs _blobs = new(start.Spec.DatasetIds, time);
    private readonly SemaphoreSlim _gate = new(1);
    private PeerServer? _server;
    private bool _hasOffered;
    private bool _hasEnded;

    /// <summary>This worker's place among them.</summary>
    public int Place => start.Participant;

    /// <summary>How many they are, with this one.</summary>
    public int Count => start.Participants.Count;

    public AgentLog Log => log;

    public TimeProvider Time => time;

    public string NameOf(int participant) => start.Participants[participant].Host;

    /// <summary>Tells the job's watchers.</summary>
    public void Say(LogLevel level, string message) => say(level, message);

    /// <summary>Takes what another worker offers. The first counts.</summary>
    public void Take(DataOffer offer)
    {
        if (offer.Participant < _offers.Length && offer.Participant != Place)
            _offers[offer.Participant].TrySetResult(offer);
    }

    /// <summary>Gives the others this file of a dataset, as far as it comes, and closes it in the end.</summary>
    public async Task ServeAsync(ContentHash id, GrowingFile file)
    {
        _blobs.Serve(id, file);
        await OfferAsync(file.Total).ConfigureAwait(false);
    }

    /// <summary>Tells the others where this worker gives the datasets that it is about to have, once. They wait while it looks whether a file is whole.</summary>
    /// <param name="bytes">Of a dataset.</param>
    public async Task OfferAsync(long bytes)
    {
        if (bytes < LeastBytes)
            return;
        await _gate.WaitAsync().ConfigureAwait(false);
        try
        {
            if (!_hasOffered && !_hasEnded)
                await BeginAsync().ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Where another worker's datasets are; null: nowhere, as far as is known in time.</summary>
    public async Task<CallInvoker?> FindAsync(int participant, CancellationToken cancellation)
    {
        DataOffer offer;
        try
        {
            offer = await _offers[participant].Task.WaitAsync(SilenceLimit, time, cancellation).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            log.PeerUnknown(NameOf(participant), SilenceLimit.TotalSeconds);
            return null;
        }

        if (!IPEndPoint.TryParse(offer.Address, out var address))
            return null;
        if (network.WhyNotOn(address.Address) is not { } elsewhere)
            return Connection(participant, address, offer)?.Invoker;
        Say(LogLevel.Warning, $"worker \"{NameOf(participant)}\" gives its data at {address}, expected an address {elsewhere}: nothing is fetched from there. Start both workers with the same --network");
        return null;
    }

    /// <summary>Ends what it gives and takes.</summary>
    public async ValueTask DisposeAsync()
    {
        await _gate.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_hasEnded)
                return;
            _hasEnded = true;
            if (_server is not null)
                await _server.DisposeAsync().ConfigureAwait(false);
            foreach (var connection in _connections.Values)
                connection.Dispose();
            _blobs.Dispose();
        }
        finally
        {
            _gate.Release();
        }
    }

    private async Task BeginAsync()
    {
        _hasOffered = true;
        var offer = new DataOffer { AttemptId = start.AttemptId };
        try
        {
            var now = network.Look();
            if (!IPAddress.TryParse(now.Address, out var address))
                throw new IOException(now.Fault);
            _server = await PeerServer.StartAsync(address, network.Ports, Count, _blobs, time).ConfigureAwait(false);
            (offer.Address, offer.Fingerprint, offer.Key) = (_server.Address.ToString(), _server.Fingerprint, _server.Key);
            log.ServesData(start.AttemptId, offer.Address);
        }
        catch (Exception e) when (e is IOException or SocketException or NetworkInformationException or CryptographicException)
        {
            log.ServesNoData(start.AttemptId, e.Message); // the others need not wait
        }

        tell(offer);
    }

    private ClusterConnection? Connection(int participant, IPEndPoint address, DataOffer offer)
    {
        try
        {
            return _connections.GetOrAdd(participant, _ => ClusterConnection.Open(new Uri($"https://{address}"), offer.Key, offer.Fingerprint, isDirect: true));
        }
        catch (ArgumentException)
        {
            return null; // no key, or no fingerprint
        }
    }
}
