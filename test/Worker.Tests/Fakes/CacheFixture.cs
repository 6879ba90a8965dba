using Microsoft.Extensions.Logging.Abstractions;
using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Transfers;

namespace Worker.Tests.Fakes;

/// <summary>A dataset cache over a coordinator, without an agent.</summary>
internal sealed class CacheFixture : IAsyncDisposable
{
    private readonly RunDirectory _folder;
    private readonly FakeCoordinator _coordinator;
    private readonly ClusterConnection _connection;
    private readonly Func<DatasetCache> _create;
    private DatasetCache _cache;
    private readonly string _files;

    private CacheFixture(RunDirectory folder, FakeCoordinator coordinator, long maxBytes, string? files)
    {
        _folder = folder;
        _coordinator = coordinator;
        _connection = ClusterConnection.Open(coordinator.Address);
        _files = files ?? Directory.CreateDirectory(Path.Combine(folder.Path, "cache")).FullName;
        var blobs = new BlobTransfer(() => _connection.Invoker, TimeProvider.System, new AgentLog(NullLogger.Instance));
        _create = () => new DatasetCache(_files, maxBytes, blobs, TimeProvider.System);
        _cache = _create();
    }

    public string SharedStore => Path.Combine(_folder.Path, "store");

    public static async Task<CacheFixture> CreateAsync(long maxBytes, string? files = null)
    {
        var folder = RunDirectory.Create();
        return new CacheFixture(folder, await FakeCoordinator.StartAsync(Path.Combine(folder.Path, "c.sock")), maxBytes, files);
    }

    public async Task<string> AddDatasetAsync(float first, int rows = 10)
    {
        var (id, content) = await TestDatasets.CreateAsync(rows, first);
        _coordinator.Datasets[id] = content;
        return id;
    }

    /// <summary>Puts a dataset where a worker on the coordinator's machine sees it.</summary>
    public void Share(string id)
    {
        Directory.CreateDirectory(Path.Combine(SharedStore, "datasets"));
        File.WriteAllBytes(Path.Combine(SharedStore, "datasets", id + ".arrow"), _coordinator.Datasets[id]);
    }

    public Task<string> UseAsync(string id, Action<long, long>? onProgress = null) => _cache.AcquireAsync(ContentHash.Parse(id), SharedStore, onProgress, peers: null, CancellationToken.None);

    /// <summary>As another agent on the same folder.</summary>
    public void Restart() => _cache = _create();

    public void Release(string id) => _cache.Release(ContentHash.Parse(id));

    public string[] Files() => [.. Directory.GetFiles(_files, "*.arrow").Select(f => Path.GetFileNameWithoutExtension(f))];

    public async ValueTask DisposeAsync()
    {
        _connection.Dispose();
        await _coordinator.DisposeAsync();
        _folder.Dispose();
    }
}
