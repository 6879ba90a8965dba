using Microsoft.ML.Distributed;
using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>A coordinator and workers as processes that a test may kill, with short times; the app's side is the test.</summary>
internal sealed class RealCluster : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly string _folder;
    private readonly ClusterConnection _connection;

    private RealCluster(string folder)
    {
        _folder = folder;
        _connection = ClusterConnection.Open(Socket);
    }

    public required RunningProgram Coordinator { get; init; }
    public required Uri Address { get; init; }
    public required string ApiKey { get; init; }
    public List<RunningProgram> Workers { get; } = [];
    public Jobs.JobsClient Jobs => new(_connection.Invoker);

    /// <summary>What the coordinator has stored, oldest first.</summary>
    public IReadOnlyList<FileInfo> Blobs => [.. new DirectoryInfo(Path.Combine(_folder, "data", "blobs")).EnumerateFiles().Where(f => f.Name[0] != '.').OrderBy(f => f.LastWriteTimeUtc)];

    public string DataFolder => Path.Combine(_folder, "data");

    public string SlurmFolder => Path.Combine(_folder, "mldist-slurm");

    private Uri Socket => new($"unix://{_folder}/c.sock");

    /// <param name="workers">Each of two slots; their hosts are "w0", "w1" and so on.</param>
    /// <param name="options">More of the coordinator's.</param>
    public static Task<RealCluster> StartAsync(int workers, params string[] options) => StartAsync(workers, heartbeatSeconds: 2, options);

    /// <inheritdoc cref="StartAsync(int, string[])"/>
    public static async Task<RealCluster> StartAsync(int workers, int heartbeatSeconds, params string[] options)
    {
        var folder = Directory.CreateTempSubdirectory("mltest-").FullName;
        var coordinator = RunningProgram.Start("MLDistributed.Cli", folder, "mldist",
            ["coordinator", "--data", Path.Combine(folder, "data"), "--socket", Path.Combine(folder, "c.sock"), "--urls", "http://127.0.0.1:0", "--heartbeat-timeout", $"{heartbeatSeconds}", .. options]);
        RealCluster? cluster = null;
        try
        {
            cluster = new RealCluster(folder)
            {
                Coordinator = coordinator,
                ApiKey = (await coordinator.Line("export MLDIST_API_KEY=", Limit)).Split('=')[^1],
                Address = new Uri((await coordinator.Line("export MLDIST_COORDINATOR=", Limit)).Split('=')[^1]),
            };
            for (var i = 0; i < workers; i++)
                cluster.StartWorker(i);
            await cluster.UntilAsync(async () => (await cluster.Jobs.GetClusterAsync(new GetClusterRequest())).Workers.Count(w => w.Status == "ready") == workers);
            return cluster;
        }
        catch
        {
            // A test that fails here must not leave processes either.
            if (cluster is not null)
                await cluster.DisposeAsync();
            else
                coordinator.Dispose();
            throw;
        }
    }

    public TrainingCluster Connect() => TrainingCluster.Connect(Address, ApiKey);

    /// <summary>The rank processes of a worker.</summary>
    public IReadOnlyList<int> RanksOf(int worker) => [.. ProcessTree.Naming(Path.Combine(_folder, $"w{worker}", "r.sock")).Select(p => p.Id)];

    public RunningProgram StartApp(string policy, int epochs) =>
        RunningProgram.Start("TrainingApp", _folder, "TrainingApp", Address.ToString(), ApiKey, policy, $"{epochs}");

    /// <summary>Runs mldist with this cluster in its environment, as its first start prints it.</summary>
    public async Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments)
    {
        using var program = StartMldist(arguments);
        return (await program.Exit(Limit), program.StandardOutput, program.StandardError);
    }

    public RunningProgram StartMldist(params string[] arguments) => StartMldist([], arguments);

    /// <summary>The same, with more in its environment.</summary>
    public RunningProgram StartMldist(Dictionary<string, string> environment, params string[] arguments) => RunningProgram.Start("MLDistributed.Cli", _folder, "mldist",
        new Dictionary<string, string>(environment) { ["MLDIST_COORDINATOR"] = Address.ToString(), ["MLDIST_API_KEY"] = ApiKey }, arguments);

    /// <summary>The only job, when it has ended.</summary>
    public async Task<JobSnapshot> EndOfJobAsync()
    {
        JobSnapshot? job = null;
        await UntilAsync(async () => (job = (await Jobs.ListJobsAsync(new ListJobsRequest())).Jobs.Single()).Ended is not null);
        return job!;
    }

    public async ValueTask DisposeAsync()
    {
        _connection.Dispose();
        foreach (var program in Workers.Append(Coordinator))
        {
            program.Dispose();
        }

        await ProcessTree.Until(() => ProcessTree.Naming(_folder).Count == 0, TimeSpan.FromSeconds(10));
        var left = ProcessTree.Naming(_folder);
        Directory.Delete(_folder, recursive: true);
        Assert.IsEmpty(left, "processes outlive their worker");
    }

    /// <summary>Starts a worker, or another in the place of one that is gone.</summary>
    public void StartWorker(int index) => StartWorker(index, []);

    /// <summary>The same, with more in its environment.</summary>
    public void StartWorker(int index, Dictionary<string, string> environment, int slots = 2) => Workers.Add(RunningProgram.Start("MLDistributed.Cli", _folder, "mldist", environment,
        "worker", "--coordinator", Socket.ToString(), "--work", Path.Combine(_folder, $"w{index}"), "--slots", $"{slots}", "--device", "cpu", "--name", $"w{index}"));

    private async Task UntilAsync(Func<Task<bool>> holds)
    {
        using var limit = new CancellationTokenSource(Limit);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(100));
        while (!await holds())
            await timer.WaitForNextTickAsync(limit.Token);
    }
}
