using System.Diagnostics;
using MLDistributed.Coordinator.Security;
using MLDistributed.Tests.Shared;

namespace MLDistributed.Coordinator.Tests.Fuzz;

/// <summary>A coordinator in a process of its own, with a key of each kind.</summary>
internal sealed class CoordinatorProcess : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fuzz-");
    private readonly RunningProgram _program;

    // Collections compact, and come often (by default the youngest generation may be as large as the processor's last-level
    // cache), and code is compiled once: what it has grown by is what it holds.
    private CoordinatorProcess() => _program = RunningProgram.StartFile(
        Path.Combine(AppContext.BaseDirectory, "MLDistributed.Coordinator"), _folder.FullName, new Dictionary<string, string> { ["DOTNET_GCConserveMemory"] = "9", ["DOTNET_GCgen0size"] = "0x200000", ["DOTNET_TieredCompilation"] = "0" },
        "--data", DataFolder, "--urls", "http://127.0.0.1:0");

    public string DataFolder => Path.Combine(_folder.FullName, "data");

    public Uri Address { get; private set; } = null!;

    /// <summary>By whose it is; null: no key.</summary>
    public IReadOnlyDictionary<string, string?> Keys { get; private set; } = null!;

    public string WorkerId { get; private set; } = "";

    public string Log => _program.StandardError;

    /// <summary>What it has in memory, in bytes.</summary>
    public long WorkingSet
    {
        get
        {
            using var process = Process.GetProcessById(_program.Id);
            return process.WorkingSet64;
        }
    }

    public static async Task<CoordinatorProcess> StartAsync()
    {
        var coordinator = new CoordinatorProcess();
        var line = await coordinator._program.Line("Listening on http", TimeSpan.FromSeconds(60));
        coordinator.Address = new Uri(line[line.IndexOf("http", StringComparison.Ordinal)..]);
        using var connection = ClusterConnection.Open(coordinator.Address);
        var joined = await new Protocol.Workers.WorkersClient(connection.Invoker)
            .JoinAsync(new JoinRequest { Token = CoordinatorAdministration.CreateJoinToken(coordinator.DataFolder), Host = "w" }).Within();
        coordinator.WorkerId = joined.WorkerId;
        coordinator.Keys = new Dictionary<string, string?>
        {
            ["nobody"] = null,
            ["reader"] = Key(Scopes.Read),
            ["submitter"] = Key(Scopes.Submit),
            ["worker"] = joined.Credential,
            ["administrator"] = Key(Scopes.Read | Scopes.Submit | Scopes.Admin),
        };
        return coordinator;

        string Key(Scopes scopes) => CoordinatorAdministration.CreateKey(coordinator.DataFolder, scopes.ToString(), scopes.ToString(), scopes);
    }

    /// <summary>A job from its data to its end, as an undisturbed tenant's.</summary>
    public async Task RunAJobAsync()
    {
        using var tenant = ClusterConnection.Open(Address, Keys["submitter"]);
        using var machine = ClusterConnection.Open(Address, Keys["worker"]);
        var data = new TestData(batches: 1);
        using (var upload = new FlightUpload(tenant.Invoker, data.Id, 0, data.RowCount))
        {
            await upload.WriteAsync(data.Batches[0]);
            await upload.CompleteAsync();
        }

        using var worker = await FakeWorker.ConnectAsync(machine.Invoker, WorkerId, 1);
        // What anybody sent may have been an administrator's cordon of it.
        using var administrator = ClusterConnection.Open(Address, Keys["administrator"]);
        await new Administration.AdministrationClient(administrator.Invoker).UncordonWorkerAsync(new UncordonWorkerRequest { WorkerId = WorkerId }).Within();
        var jobs = new Protocol.Jobs.JobsClient(tenant.Invoker);
        var id = (await jobs.SubmitJobAsync(new SubmitJobRequest { Spec = Specs.Valid(change: s => s.Data.DatasetId = data.Id) }).Within()).JobId;
        var start = await worker.ExpectStartAsync();
        Assert.AreEqual(id, start.JobId);
        await worker.StartedAsync(start);
        await worker.SucceedAsync(start);
        using var watch = jobs.WatchJob(new WatchJobRequest { JobId = id });
        var last = JobState.Unspecified;
        while (await watch.ResponseStream.MoveNext(CancellationToken.None).Within())
            last = watch.ResponseStream.Current.State?.State ?? last;
        Assert.AreEqual(JobState.Succeeded, last);
    }

    public void Dispose()
    {
        _program.Dispose();
        _folder.Delete(recursive: true);
    }
}
