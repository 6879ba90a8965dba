using MLDistributed.Coordinator.Hosting;
using Microsoft.Extensions.DependencyInjection;

namespace MLDistributed.Coordinator.Tests.Support;

/// <summary>A coordinator in this process on a Unix socket, and on a loopback port where a test asks for it.</summary>
internal sealed class TestCoordinator : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("coord-");
    private readonly List<IDisposable> _connections = [];
    private readonly string[] _urls;
    private readonly long _maxUploadBytes;
    private readonly string? _dataFolder;
    private readonly long? _cacheBytes;
    private CoordinatorServer? _server;

    private TestCoordinator(string[] urls, long maxUploadBytes, string? dataFolder, long? cacheBytes)
    {
        _urls = urls;
        _maxUploadBytes = maxUploadBytes;
        _dataFolder = dataFolder;
        _cacheBytes = cacheBytes;
    }

    public ManualTimeProvider Time { get; } = new();
    public string DataFolder => _dataFolder ?? Path.Combine(_folder.FullName, "data");
    public string SocketPath => Path.Combine(_folder.FullName, "c.sock");
    public Uri SocketAddress => UnixSocketAddress.Of(SocketPath);
    public Uri Address => _server!.Addresses[0];

    public Protocol.Jobs.JobsClient Jobs => new(Connect().Invoker);
    public Administration.AdministrationClient Administration => new(Connect().Invoker);
    public Protocol.Datasets.DatasetsClient Datasets => new(Connect().Invoker);
    public Protocol.Blobs.BlobsClient Blobs => new(Connect().Invoker);

    public T Get<T>() where T : notnull => _server!.Services.GetRequiredService<T>();

    public static async Task<TestCoordinator> StartAsync(string[]? urls = null, long maxUploadBytes = 1L << 30, string? dataFolder = null, long? cacheBytes = null)
    {
        var coordinator = new TestCoordinator(urls ?? [], maxUploadBytes, dataFolder, cacheBytes);
        await coordinator.StartServerAsync();
        return coordinator;
    }

    /// <summary>Whether jobs may bring code, from the next start of the server on.</summary>
    public bool AllowsUserCode { get; set; } = true;

    /// <summary>How many jobs a tenant may have, from the next start of the server on.</summary>
    public int MaxJobs { get; set; } = 20_000;

    public CoordinatorOptions Options => new()
    {
        MaxJobs = MaxJobs,
        AllowUserCode = AllowsUserCode,
        DataFolder = DataFolder,
        SocketPath = SocketPath,
        Urls = _urls,
        Time = Time,
        MaxUploadBytes = _maxUploadBytes,
        CacheBytes = _cacheBytes,
        MinFreeBytes = _dataFolder is null ? 64L << 20 : 0,
    };

    public async Task StartServerAsync() => _server = await CoordinatorServer.StartAsync(Options, CancellationToken.None).Within();

    public async Task StopServerAsync()
    {
        if (_server is not null)
            await _server.DisposeAsync().AsTask().Within();
        _server = null;
    }

    /// <summary>A connection over the socket, closed with the coordinator.</summary>
    public ClusterConnection Connect() => Keep(ClusterConnection.Open(SocketAddress));

    /// <summary>A connection over the loopback port.</summary>
    public ClusterConnection ConnectByKey(string? key) => Keep(ClusterConnection.Open(Address, key));

    public async ValueTask DisposeAsync()
    {
        foreach (var connection in _connections)
            connection.Dispose();
        await StopServerAsync();
        _folder.Delete(recursive: true);
    }

    private ClusterConnection Keep(ClusterConnection connection)
    {
        _connections.Add(connection);
        return connection;
    }
}
