using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using MLDistributed.Coordinator.Cluster;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>A coordinator that runs in this process.</summary>
internal sealed class CoordinatorServer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly DataFolder _data;
    private readonly CoordinatorOptions _options;

    private CoordinatorServer(WebApplication app, DataFolder data, CoordinatorOptions options)
    {
        _app = app;
        _data = data;
        _options = options;
    }

    /// <summary>Where it listens, with the real ports.</summary>
    public IReadOnlyList<Uri> Addresses => [.. _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses
        .Where(a => !a.Contains("unix:", StringComparison.Ordinal)).Select(a => new Uri(a))];

    public IServiceProvider Services => _app.Services;

    /// <summary>Why it stopped by itself; null while it runs, and when it was told to.</summary>
    public Exception? Fault => _app.Services.GetRequiredService<ClusterService>().Fault;

    public CancellationToken Stopping => _app.Lifetime.ApplicationStopping;

    public static async Task<CoordinatorServer> StartAsync(CoordinatorOptions options, CancellationToken cancellation)
    {
        if (options.Validate() is { Count: > 0 } errors)
            throw new ArgumentException(string.Join(Environment.NewLine, errors));
        var data = DataFolder.Open(options.DataFolder);
        CoordinatorServer? server = null;
        try
        {
            if (options.FullSocketPath is { } path)
                Listening.PrepareSocket(path);
            server = new CoordinatorServer(Composition.Build(options, data), data, options);
            await server._app.StartAsync(cancellation).ConfigureAwait(false);
            if (options.FullSocketPath is { } socket)
                Listening.RestrictSocket(socket);
            return server;
        }
        catch (Exception e)
        {
            // An address in use, mostly: what had started before it must end.
            if (server is not null)
                await server.DisposeAsync().ConfigureAwait(false);
            data.Dispose();
            if (server is null || e is not (IOException or System.Net.Sockets.SocketException))
                throw;
            throw new IOException($"The coordinator cannot listen on {string.Join(" and ", options.Urls.Append(options.SocketPath).OfType<string>().Select(u => $"\"{u}\""))} ({e.Message.TrimEnd('.')}), expected addresses of this machine that are free. Stop what listens there, or choose others.", e);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync().ConfigureAwait(false);
        var database = _app.Services.GetRequiredService<ClusterDatabase>();
        await _app.DisposeAsync().ConfigureAwait(false);
        database.Close();
        if (_options.FullSocketPath is { } path && File.Exists(path))
            File.Delete(path);
        _data.Dispose();
    }
}
