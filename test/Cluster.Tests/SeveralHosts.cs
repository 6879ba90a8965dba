using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>Workers and a coordinator, each on a host of its own network; the app's side is the test, by the coordinator's socket.</summary>
internal sealed class SeveralHosts : IAsyncDisposable
{
    /// <summary>Where the last of the workers is found, which has ports of its own; the others have 7300 to 7399.</summary>
    public const string LastPorts = "7400-7409";

    /// <summary>What leaders may be silent for and 3 s, twice for a busy machine.</summary>
    public static readonly TimeSpan EndOfSilence = 2 * TimeSpan.FromSeconds(5 + 3);

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly string _folder = Directory.CreateTempSubdirectory("mltest-").FullName;
    private readonly RunningProgram?[] _workers;
    private readonly int _slots;
    private readonly NetworkHosts _network;
    private readonly RunningProgram _coordinator;
    private readonly ClusterConnection _connection;
    private string[] _join = [];
    private Dictionary<string, string> _environment = [];
    private Func<int, IReadOnlyDictionary<string, string>>? _environmentOf;

    private SeveralHosts(int count, int slots)
    {
        (_workers, _slots, _network) = (new RunningProgram?[count], slots, NetworkHosts.Create(count + 1));
        _coordinator = Start(CoordinatorsHost, "coordinator", "--data", Data, "--socket", Path.Combine(_folder, "c.sock"), "--urls", $"https://{NetworkHosts.Address(CoordinatorsHost)}:0", "--heartbeat-timeout", "2", "--cordon-failures", "0"); // each test needs both
        _connection = ClusterConnection.Open(Address);
    }

    private int Count => _workers.Length;

    private int CoordinatorsHost => Count;

    public Uri Address => new($"unix://{_folder}/c.sock");

    public Jobs.JobsClient Jobs => new(_connection.Invoker);

    private string Data => Path.Combine(_folder, "data");

    /// <summary>Starts all; fails with the reason where hosts or MPI are not to be had.</summary>
    /// <param name="environmentOf">What a host's worker has in its environment besides.</param>
    /// <param name="count">How many workers.</param>
    /// <param name="slots">Of each.</param>
    public static async Task<SeveralHosts> StartAsync(Func<int, IReadOnlyDictionary<string, string>>? environmentOf = null, int count = 2, int slots = 2)
    {
        var hosts = new SeveralHosts(count, slots) { _environmentOf = environmentOf };
        try
        {
            hosts._join = (await hosts._coordinator.Line("^ +mldist worker ", Limit)).Trim().Split(' ')[1..];
            hosts._environment = hosts._coordinator.Output.Split('\n').Select(l => l.Trim()).Where(l => l.StartsWith("export ", StringComparison.Ordinal))
                .Select(l => l["export ".Length..].Split('=', 2)).ToDictionary(p => p[0], p => p[1]);
            for (var host = 0; host < count; host++)
                await hosts.StartWorkerAsync(host);
            foreach (var worker in hosts._workers)
                if ((await worker!.Line("Ranks (meet|cannot meet) ", Limit)).Contains("cannot", StringComparison.Ordinal))
                    Assert.Inconclusive(worker.Output);
            await hosts.ReadyAsync();
            return hosts;
        }
        catch
        {
            await hosts.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts many, of one slot each; the tests are skipped where hosts are not to be had.</summary>
    /// <param name="count">How many.</param>
    public static Task<SeveralHosts> StartManyAsync(int count)
    {
        if (NetworkHosts.Unavailable() is { } reason)
            Assert.Inconclusive(reason);
        // Each believes that it has this machine's cores to itself.
        return StartAsync(_ => new Dictionary<string, string> { ["MLDIST_CHILD_OMP_NUM_THREADS"] = "1" }, count, slots: 1);
    }

    /// <summary>Starts a worker, or another in the place of one that is gone.</summary>
    public async Task StartWorkerAsync(int host)
    {
        var environment = new Dictionary<string, string>(_environment);
        if (_workers[host] is null)
            environment["MLDIST_JOIN_TOKEN"] = await TokenAsync();
        foreach (var (name, value) in _environmentOf?.Invoke(host) ?? new Dictionary<string, string>())
            environment[name] = value;
        _workers[host] = Start(host, environment, [.. _join, "--work", WorkFolder(host), "--slots", $"{_slots}", "--device", "cpu", "--name", $"h{host}", "--network", host == 0 ? NetworkHosts.Interface : "10.77.0.0/24", .. host == Count - 1 ? (string[])["--network-ports", LastPorts] : []]);
    }

    /// <summary>Waits until all workers are there and idle.</summary>
    public async Task ReadyAsync()
    {
        using var limit = new CancellationTokenSource(Limit);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(100));
        while ((await Jobs.GetClusterAsync(new GetClusterRequest())).Workers.Count(w => w.Status == "ready") < Count)
            await timer.WaitForNextTickAsync(limit.Token);
    }

    /// <summary>Waits until the store has two more files than now: of a job that trains, two checkpoints, of which the coordinator knows the first.</summary>
    public async Task StoresTwoAsync()
    {
        var before = Stored().ToHashSet();
        var seen = new HashSet<string>();
        using var limit = new CancellationTokenSource(Limit);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(50));
        while (seen.Count < 2)
        {
            await timer.WaitForNextTickAsync(limit.Token);
            seen.UnionWith(Stored().Except(before));
        }

        IEnumerable<string> Stored() => Directory.EnumerateFiles(Path.Combine(Data, "blobs")).Select(f => Path.GetFileName(f)).Where(f => f.Length == 64); // others are not whole yet
    }

    /// <summary>The coordinator's name for the worker on a host.</summary>
    public async Task<string> IdOfAsync(int host) => (await Jobs.GetClusterAsync(new GetClusterRequest())).Workers.Single(w => w.Host == $"h{host}").Id;

    /// <summary>The processes of a host's slots, in their order.</summary>
    public int[] RanksOf(int host) => [.. Enumerable.Range(0, _slots).Select(slot => RankOf(host, slot))];

    public void KillWorker(int host) => _workers[host]!.Signal("KILL");

    /// <summary>Stops a worker's agent, without ending it, or lets it go on.</summary>
    public void SetPaused(int host, bool isPaused) => _workers[host]!.Signal(isPaused ? "STOP" : "CONT");

    /// <summary>What the coordinator has sent to workers until now.</summary>
    public long CoordinatorsBytes => _network.SentBytes(CoordinatorsHost);

    /// <summary>Limits what the coordinator sends; null: no more.</summary>
    public void SetCoordinatorsRate(string? rate) => _network.SetRate(CoordinatorsHost, rate);

    /// <summary>Kills the process of a slot; that of slot 0 speaks for its host.</summary>
    public void KillRank(int host, int slot)
    {
        using var process = System.Diagnostics.Process.GetProcessById(RankOf(host, slot));
        process.Kill();
    }

    /// <summary>Stops the process that speaks for its host, without ending it, or lets it go on.</summary>
    public void PauseLeader(int host) => RunningProgram.Signal(RankOf(host, slot: 0), "STOP");

    public void SetLink(int host, bool isUp) => _network.SetLink(host, isUp);

    /// <summary>Has a network lose all that goes between a host and the other workers, whose links are up and who reach the coordinator.</summary>
    public void SetApart(int host, bool isApart)
    {
        foreach (var other in Enumerable.Range(0, Count).Where(o => o != host))
        {
            _network.SetDeaf(host, other, isApart);
            _network.SetDeaf(other, host, isApart);
        }
    }

    /// <summary>Has a worker's host let nobody connect to the ports of its ranks (TCP), as a firewall; what goes to them by UDP comes.</summary>
    public void SetClosed(int host, bool isClosed) => _network.SetClosed(host, "7300-7499", isClosed);

    /// <summary>Limits what all workers send; null: no more.</summary>
    public void SetRate(string? rate) => Each(host => _network.SetRate(host, rate));

    /// <summary>Delays what all workers send, until <see cref="SetRate"/>.</summary>
    public void SetDelay(int milliseconds) => Each(host =>
    {
        if (_network.SetDelay(host, milliseconds) is { } refusal)
            Assert.Inconclusive($"Delays packets, which this machine does not ({refusal}).");
    });

    /// <summary>The shortest round trip between two workers' hosts, in milliseconds.</summary>
    public double RoundTrip(int from, int to) => _network.RoundTrip(from, to);

    /// <summary>The TCP ports at which the process of a host's first slot is reached.</summary>
    public int[] ListeningPorts(int host)
    {
        const string listens = "0A";
        // "1: 0100007F:1C84 00000000:0000 0A ...", hexadecimal, of all processes of that host.
        return [.. File.ReadLines($"/proc/{RankOf(host, slot: 0)}/net/tcp").Skip(1).Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries)).Where(f => f[3] == listens)
            .Select(f => int.Parse(f[1].Split(':')[1], System.Globalization.NumberStyles.HexNumber, System.Globalization.CultureInfo.InvariantCulture))];
    }

    public async Task<string> RunAsync(params string[] arguments)
    {
        using var program = RunningProgram.Start("MLDistributed.Cli", _folder, "mldist", new Dictionary<string, string> { ["MLDIST_COORDINATOR"] = Address.ToString() }, arguments);
        Assert.AreEqual(0, await program.Exit(Limit), program.Output);
        return program.StandardOutput;
    }

    public async ValueTask DisposeAsync()
    {
        _connection.Dispose();
        foreach (var program in _workers.OfType<RunningProgram>().Append(_coordinator))
        {
            program.Signal("TERM");
            program.Dispose();
        }

        await ProcessTree.Until(() => ProcessTree.Naming(_folder).Count == 0, TimeSpan.FromSeconds(10));
        var left = ProcessTree.Naming(_folder);
        _network.Dispose();
        Directory.Delete(_folder, recursive: true);
        Assert.IsEmpty(left, "processes outlive their worker");
    }

    private async Task<string> TokenAsync()
    {
        using var tokens = RunningProgram.Start("MLDistributed.Cli", _folder, "mldist", "tokens", "create", "--data", Data);
        Assert.AreEqual(0, await tokens.Exit(Limit), tokens.Output);
        return tokens.StandardOutput.Trim();
    }

    private void Each(Action<int> change)
    {
        for (var host = 0; host < Count; host++)
            change(host);
    }

    private int RankOf(int host, int slot) => ProcessTree.Naming(Path.Combine(WorkFolder(host), "r.sock")).Single(p => p.CommandLine.Contains($"--slot {slot}", StringComparison.Ordinal)).Id;

    private string WorkFolder(int host) => Path.Combine(_folder, $"w{host}");

    private RunningProgram Start(int host, params string[] arguments) => Start(host, new Dictionary<string, string>(), arguments);

    private RunningProgram Start(int host, IReadOnlyDictionary<string, string> environment, params string[] arguments) =>
        RunningProgram.StartFile("ip", _folder, environment, _network.CommandOn(host, RunningProgram.PathOf("MLDistributed.Cli", "mldist"), arguments));
}
