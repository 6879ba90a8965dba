using System.Diagnostics;
using System.Globalization;
using Grpc.Core;
using Microsoft.ML.Distributed;
using MLDistributed.Protocol;

namespace MLDistributed.Bench.Load;

/// <summary>A coordinator as a process of its own, on a socket and on TLS.</summary>
internal sealed class CoordinatorProcess : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("load-").FullName;
    private readonly List<ClusterConnection> _connections = [];
    private string _key = "";
    private string _fingerprint = "";
    private Uri _address = new("https://127.0.0.1");
    private Process _process = new();

    public int MegaBytes => int.Parse(File.ReadLines($"/proc/{_process.Id}/status").First(l => l.StartsWith("VmRSS", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) / 1024;

    public static async Task<CoordinatorProcess> StartAsync()
    {
        var coordinator = new CoordinatorProcess();
        coordinator.Start(FreePort());
        string line;
        do
        {
            line = (await coordinator._process.StandardOutput.ReadLineAsync().ConfigureAwait(false))?.Trim() ?? throw new IOException("The coordinator ended early; it has said why.");
            var value = line[(line.IndexOf('=', StringComparison.Ordinal) + 1)..];
            if (line.StartsWith("export " + ClusterVariables.Coordinator, StringComparison.Ordinal))
                coordinator._address = new Uri(value);
            else if (line.StartsWith("export " + ClusterVariables.ApiKey, StringComparison.Ordinal))
                coordinator._key = value;
            else if (line.StartsWith("export " + ClusterVariables.Fingerprint, StringComparison.Ordinal))
                coordinator._fingerprint = value;
        }
        while (!line.StartsWith("mldist worker", StringComparison.Ordinal));
        _ = coordinator._process.StandardOutput.ReadToEndAsync();
        return coordinator;
    }

    /// <summary>One on a socket alone: of one app, which loses with its machine what it could make again, or one that keeps what it acknowledged.</summary>
    public static async Task<CoordinatorProcess> StartLocallyAsync(bool isCache)
    {
        var coordinator = new CoordinatorProcess();
        coordinator.Start(isCache ? ["--cache-bytes", "100000000"] : []);
        _ = coordinator._process.StandardOutput.ReadToEndAsync();
        while (true)
        {
            try
            {
                await new Jobs.JobsClient(coordinator.ConnectLocally().Invoker).GetClusterAsync(new GetClusterRequest());
                return coordinator;
            }
            catch (RpcException e) when (e.StatusCode is StatusCode.Unavailable or StatusCode.Internal)
            {
                await Task.Delay(50).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Where its files, and those of its workers, are.</summary>
    public string Folder => _folder;

    public int Id => _process.Id;

    /// <summary>As an app of a tenant does, over TLS.</summary>
    public TrainingCluster ConnectAs(string tenant) => TrainingCluster.Connect(_address, new TrainingClusterOptions { ApiKey = CreateKey(tenant), CertificateFingerprint = _fingerprint });

    /// <summary>A worker of this machine, of two slots.</summary>
    public Process StartWorker(string name) => Process.Start(new ProcessStartInfo(Program, ["worker", "--coordinator", UnixSocketAddress.Of(Path.Combine(_folder, "c.sock")).ToString(), "--work", Path.Combine(_folder, name), "--slots", "2", "--device", "cpu", "--name", name])
    {
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    })!;

    /// <summary>As a client does, over TLS.</summary>
    public ClusterConnection Connect() => Keep(ClusterConnection.Open(_address, _key, _fingerprint));

    /// <summary>As a worker of this machine does, over the socket.</summary>
    public ClusterConnection ConnectLocally() => Keep(ClusterConnection.Open(UnixSocketAddress.Of(Path.Combine(_folder, "c.sock"))));

    /// <summary>Kills and starts it; how long until it answers.</summary>
    public async Task<TimeSpan> RestartAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync().ConfigureAwait(false);
        var started = Stopwatch.GetTimestamp();
        Start(_address.Port);
        _ = _process.StandardOutput.ReadToEndAsync();
        while (true)
        {
            try
            {
                using var connection = ClusterConnection.Open(_address, _key, _fingerprint);
                await new Jobs.JobsClient(connection.Invoker).GetClusterAsync(new GetClusterRequest());
                return Stopwatch.GetElapsedTime(started);
            }
            catch (RpcException e) when (e.StatusCode is StatusCode.Unavailable or StatusCode.Internal)
            {
                await Task.Delay(20).ConfigureAwait(false);
            }
        }
    }

    public void Dispose()
    {
        foreach (var connection in _connections)
            connection.Dispose();
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static string Program => Path.Combine((string)AppContext.GetData("MLDistributed.Runtime")!, "mldist");

    private string CreateKey(string tenant)
    {
        using var process = Process.Start(new ProcessStartInfo(Program, ["keys", "create", "--data", Path.Combine(_folder, "data"), "--name", tenant, "--tenant", tenant, "--scopes", "submit"]) { RedirectStandardOutput = true })!;
        var key = process.StandardOutput.ReadToEnd().Trim();
        process.WaitForExit();
        return key;
    }

    private static int FreePort()
    {
        using var listener = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        return ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
    }

    private void Start(int port)
    {
        Start("--urls", $"https://127.0.0.1:{port}");
    }

    private void Start(params string[] more)
    {
        _process = Process.Start(new ProcessStartInfo(Program, ["coordinator", "--data", Path.Combine(_folder, "data"), "--socket", Path.Combine(_folder, "c.sock"), .. more])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        _process.ErrorDataReceived += (_, line) =>
        {
            if (line.Data?.Contains(" fail: ", StringComparison.Ordinal) == true)
                Console.Error.WriteLine(line.Data);
        };
        _process.BeginErrorReadLine();
    }

    private ClusterConnection Keep(ClusterConnection connection)
    {
        _connections.Add(connection);
        return connection;
    }
}
