using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using MLDistributed.Worker;

namespace Worker.Tests.Fakes;

/// <summary>A coordinator and an agent with real rank processes, in a folder of their own that is empty of traces in the end.</summary>
internal sealed class AgentFixture : IAsyncDisposable
{
    public const string Job = "job";
    private readonly RunDirectory _folder;
    private readonly CancellationTokenSource _stop = new();

    private AgentFixture(RunDirectory folder) => _folder = folder;

    public required FakeCoordinator Coordinator { get; init; }

    public string WorkFolder => Path.Combine(_folder.Path, "w");

    public TimeSpan PingInterval { get; set; } = TimeSpan.FromSeconds(2);

    public TimeSpan LeaveGrace { get; set; }

    /// <summary>What the agent does to see whether an attempt's workers reach one another: there are no others.</summary>
    public Action<RankStart, IRendezvous, CancellationToken> CheckPeers { get; set; } = (_, _, _) => { };

    public Task Agent { get; private set; } = Task.CompletedTask;

    public static async Task<AgentFixture> CreateAsync()
    {
        var folder = RunDirectory.Create();
        return new AgentFixture(folder) { Coordinator = await FakeCoordinator.StartAsync(Path.Combine(folder.Path, "c.sock")) };
    }

    public static async Task<AgentFixture> StartAsync(int slots = 2)
    {
        var fixture = await CreateAsync();
        fixture.StartAgent(slots);
        await fixture.Coordinator.HearAsync(m => m.Hello);
        return fixture;
    }

    /// <param name="token">To join over the network; null: over the socket, where nobody asks.</param>
    /// <param name="network">As --network.</param>
    public void StartAgent(int slots = 2, string? token = null, string? network = null) => Agent = AgentHost.RunAsync(
        new AgentOptions { Coordinator = token is null ? Coordinator.Address : Coordinator.NetworkAddress, Token = token, WorkFolder = WorkFolder, Slots = slots, Device = DeviceKind.Cpu, Host = "testhost", Network = network, PingInterval = PingInterval, LeaveGrace = LeaveGrace, CheckPeers = CheckPeers },
        _stop.Token);

    /// <summary>A dataset in the coordinator's store.</summary>
    public async Task<string> AddDatasetAsync()
    {
        var (id, content) = await TestDatasets.CreateAsync(rows: 500);
        Coordinator.Datasets[id] = content;
        return id;
    }

    /// <summary>Starts an attempt with a script for its ranks.</summary>
    public async Task StartAttemptAsync(string attemptId, string script, int ranks = 2, Artifact? resumeFrom = null, long resumeStep = 0) =>
        StartAttempt(attemptId, script, await AddDatasetAsync(), ranks, resumeFrom, resumeStep: resumeStep);

    public void StartAttempt(string attemptId, string script, string datasetId, int ranks = 2, Artifact? resumeFrom = null, StartingModel? startFrom = null, long resumeStep = 0) =>
        Coordinator.Send(new WorkerCommand
        {
            StartAttempt = new StartAttempt
            {
                JobId = Job,
                AttemptId = attemptId,
                Attempt = 1,
                Spec = new JobSpec { Name = script, Data = new DataSpec { DatasetId = datasetId }, StartFrom = startFrom },
                Slots = { Enumerable.Range(0, ranks) },
                ResumeFrom = resumeFrom,
                ResumeStep = resumeStep,
            },
        });

    /// <summary>Starts this worker's part of an attempt: ranks 2 and 3, of two workers.</summary>
    public async Task StartPartAsync(string attemptId, string script, bool isStored = true) => Coordinator.Send(new WorkerCommand
    {
        StartAttempt = new StartAttempt
        {
            JobId = Job,
            AttemptId = attemptId,
            Attempt = 1,
            Spec = new JobSpec { Name = script, Data = new DataSpec { DatasetId = isStored ? await AddDatasetAsync() : new string('0', 64) } },
            Slots = { 0, 1 },
            Participants = { new Participant { Host = "other", Ranks = 2 }, new Participant { Host = "testhost", Ranks = 2 } },
            Participant = 1,
        },
    });

    public void StopAttempt(string attemptId, bool jobGoesOn = false) => Coordinator.Send(new WorkerCommand { StopAttempt = new StopAttempt { AttemptId = attemptId, Reason = "asked to", JobGoesOn = jobGoesOn } });

    public Task<AttemptEnded> EndOfAsync(string attemptId) => Coordinator.HearAsync(m => m.AttemptEnded?.AttemptId == attemptId ? m.AttemptEnded : null);

    public Task StartedAsync(string attemptId) => Coordinator.HearAsync(m => m.AttemptStarted?.AttemptId == attemptId ? m.AttemptStarted : null);

    /// <summary>The agent's rank processes, by this work folder in their arguments.</summary>
    public IReadOnlyList<int> RankProcesses() => Processes.With(WorkFolder + "/r.sock");

    public async Task StopAgentAsync()
    {
        await _stop.CancelAsync();
        await Agent.WaitAsync(TimeSpan.FromSeconds(10));
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            if (!Agent.IsCompleted)
                await StopAgentAsync();
            Assert.IsEmpty(RankProcesses(), "rank processes are left");
            Assert.IsFalse(Directory.Exists(WorkFolder) && Directory.EnumerateFileSystemEntries(Path.Combine(WorkFolder, "attempts")).Any(), "files of attempts are left");
        }
        finally
        {
            await Coordinator.DisposeAsync();
            _folder.Dispose();
            _stop.Dispose();
        }
    }
}
