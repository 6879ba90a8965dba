using System.Diagnostics;
using System.Globalization;
using Grpc.Core;
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

    private static int FreePort()
    {
        using var listener = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        return ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
    }

    private void Start(int port)
    {
        var program = Path.Combine((string)AppContext.GetData("MLDistributed.Runtime")!, "mldist");
        _process = Process.Start(new ProcessStartInfo(program, ["coordinator", "--data", Path.Combine(_folder, "data"), "--socket", Path.Combine(_folder, "c.sock"), "--urls", $"https://127.0.0.1:{port}"])
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
