using System.Net;
using Microsoft.Extensions.Logging.Abstractions;
using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Networks;
using MLDistributed.Worker.Peers;
using MLDistributed.Worker.Transfers;

namespace Worker.Tests.Fakes;

/// <summary>The data of an attempt on several workers, each with a cache of its own, on the loopback interface; the coordinator hands their offers on.</summary>
internal sealed class PeersFixture : IAsyncDisposable
{
    private readonly RunDirectory _folder;
    private readonly ClusterConnection _connection;
    private readonly List<DataPeers> _peers = [];
    private readonly DatasetCache[] _caches;
    private readonly Func<int, DataOffer, DataOffer?> _relay;
    private readonly AgentLog _log = new(NullLogger.Instance);

    private PeersFixture(RunDirectory folder, FakeCoordinator coordinator, int count, Func<int, DataOffer, DataOffer?>? relay, string? files)
    {
        (_folder, Coordinator, _relay) = (folder, coordinator, relay ?? ((_, offer) => offer));
        _connection = ClusterConnection.Open(coordinator.Address);
        var blobs = new BlobTransfer(() => _connection.Invoker, TimeProvider.System, _log);
        _caches = [.. Enumerable.Range(0, count).Select(place => new DatasetCache(files ?? FolderOf(place), long.MaxValue, blobs, TimeProvider.System))];
    }

    public FakeCoordinator Coordinator { get; }

    public string Id { get; private set; } = "";

    public byte[] Content => Coordinator.Datasets[Id];

    public List<string> Said { get; } = [];

    public List<DataOffer> Offers { get; } = [];

    /// <param name="count">How many workers.</param>
    /// <param name="relay">What becomes of a worker's offer on its way; null: it is lost.</param>
    /// <param name="files">Where the caches are; null: each has a folder.</param>
    public static async Task<PeersFixture> CreateAsync(int count, Func<int, DataOffer, DataOffer?>? relay = null, string? files = null)
    {
        var folder = RunDirectory.Create();
        var fixture = new PeersFixture(folder, await FakeCoordinator.StartAsync(Path.Combine(folder.Path, "c.sock")), count, relay, files);
        (fixture.Id, var content) = await TestDatasets.CreateAsync(rows: 1_500_000); // 18 MB
        fixture.Coordinator.Datasets[fixture.Id] = content;
        fixture.BeginAttempt();
        return fixture;
    }

    public DataPeers PeersOf(int place) => _peers[place];

    /// <summary>Another attempt, of the same workers.</summary>
    public void BeginAttempt()
    {
        var all = _peers;
        all.Clear();
        for (var place = 0; place < _caches.Length; place++)
        {
            var self = place;
            var start = new StartAttempt { AttemptId = "a1", Spec = new JobSpec { Data = new DataSpec { DatasetId = Id.Length > 0 ? Id : new string('0', 64) } }, Participant = place };
            start.Participants.AddRange(Enumerable.Range(0, _caches.Length).Select(p => new Participant { Host = $"h{p}", Ranks = 1 }));
            var network = new WorkerNetwork("lo", PortRange.Default, "", null, () => [new NetworkLink("lo", IsUp: true, [new LinkAddress(IPAddress.Loopback, 8)])]);
            all.Add(new DataPeers(start, network, offer => Relay(self, offer), (_, message) => Say($"h{self} {message}"), TimeProvider.System, _log));
        }
    }

    /// <summary>Has a worker get the data, as for an attempt.</summary>
    public Task<string> AcquireAsync(int place, CancellationToken cancellation = default, Action<long, long>? onProgress = null) =>
        _caches[place].AcquireAsync(ContentHash.Parse(Id), "", onProgress, _peers[place], cancellation);

    public string FolderOf(int place) => Directory.CreateDirectory(Path.Combine(_folder.Path, $"w{place}")).FullName;

    public async ValueTask DisposeAsync()
    {
        foreach (var peers in _peers)
            await peers.DisposeAsync();
        _connection.Dispose();
        await Coordinator.DisposeAsync();
        _folder.Dispose();
    }

    private void Relay(int place, DataOffer offer)
    {
        lock (Offers)
            Offers.Add(offer);
        if (_relay(place, offer) is not { } told)
            return;
        told.Participant = place;
        foreach (var (_, other) in _peers.Index().Where(p => p.Index != place))
            other.Take(told);
    }

    private void Say(string message)
    {
        lock (Said)
            Said.Add(message);
    }
}
