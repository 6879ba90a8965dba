using System.Diagnostics;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;

namespace MLDistributed.Engine.Bench;

/// <summary>A coordinator on a host of its own, reached over TLS from the others, and by its socket from here.</summary>
internal sealed class BenchCoordinator : IDisposable
{
    private readonly Process _process;
    private readonly string _socket;
    private readonly Dictionary<string, long> _sizes = [];

    private BenchCoordinator(Process process, string socket) => (_process, _socket) = (process, socket);

    public string Address { get; private set; } = "";

    public string Key { get; private set; } = "";

    public string Fingerprint { get; private set; } = "";

    public static BenchCoordinator Start(NetworkHosts hosts, int host, string folder)
    {
        var socket = Path.Combine(folder, "c.sock");
        var program = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "MLDistributed.Cli", new DirectoryInfo(AppContext.BaseDirectory).Name, "mldist"));
        var start = hosts.On(host, program, "coordinator", "--data", Path.Combine(folder, "data"), "--socket", socket, "--urls", $"https://{NetworkHosts.Address(host)}:0");
        (start.RedirectStandardOutput, start.RedirectStandardError) = (true, true);
        var coordinator = new BenchCoordinator(Process.Start(start)!, socket);
        coordinator._process.ErrorDataReceived += (_, _) => { };
        coordinator._process.BeginErrorReadLine();
        for (var line = ""; !line.StartsWith("mldist worker", StringComparison.Ordinal);)
        {
            line = coordinator._process.StandardOutput.ReadLine()?.Trim() ?? throw new IOException($"\"{program}\" ended early, expected the address of a coordinator. Build src/Cli first.");
            var value = line[(line.IndexOf('=', StringComparison.Ordinal) + 1)..];
            if (line.StartsWith("export " + ClusterVariables.Coordinator, StringComparison.Ordinal))
                coordinator.Address = value;
            else if (line.StartsWith("export " + ClusterVariables.ApiKey, StringComparison.Ordinal))
                coordinator.Key = value;
            else if (line.StartsWith("export " + ClusterVariables.Fingerprint, StringComparison.Ordinal))
                coordinator.Fingerprint = value;
        }

        _ = coordinator._process.StandardOutput.ReadToEndAsync();
        return coordinator;
    }

    /// <summary>Has the coordinator take a dataset over; its id.</summary>
    public string Adopt(Action<string> write)
    {
        using var connection = ClusterConnection.Open(UnixSocketAddress.Of(_socket));
        var datasets = new Datasets.DatasetsClient(connection.Invoker);
        var incoming = datasets.FindDataset(new FindDatasetRequest { DatasetId = new string('0', 64) }).IncomingFolder;
        var path = Path.Combine(incoming, $"{Guid.NewGuid():N}.arrow");
        write(path);
        var (id, rows) = DatasetHasher.ReadAsync(path, CancellationToken.None).GetAwaiter().GetResult();
        _sizes[id.Text] = new FileInfo(path).Length;
        datasets.AdoptDataset(new AdoptDatasetRequest { DatasetId = id.Text, Path = path, RowCount = rows });
        return id.Text;
    }

    public long SizeOf(string id) => _sizes[id];

    public void End()
    {
        if (_process.HasExited)
            return;
        _process.Kill();
        _process.WaitForExit();
    }

    public void Dispose()
    {
        End();
        _process.Dispose();
    }
}
