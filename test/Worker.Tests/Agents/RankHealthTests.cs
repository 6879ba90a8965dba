using MLDistributed.Protocol;
using MLDistributed.Worker;
using MLDistributed.Worker.Ranks;
using Worker.Tests.Fakes;

namespace Worker.Tests.Agents;

/// <summary>Rank processes that do not load, do not start, or do not answer.</summary>
[TestClass]
public sealed class RankHealthTests
{
    [TestMethod]
    public async Task Rank_CannotLoad_CoordinatorHearsWhyUntilItCan()
    {
        await using var fixture = await CreateBrokenAsync();
        fixture.StartAgent(slots: 1);

        var fault = await fixture.Coordinator.HearAsync(m => Devices(m)?.Select(d => d.Fault).FirstOrDefault(f => f.Length > 0));
        StringAssert.Contains(fault, "ended with exit code 1 while it loaded");
        StringAssert.Contains(fault, "DllNotFoundException: Unable to load libtorch_cpu.so");

        File.Delete(BrokenFile(fixture));
        await fixture.Coordinator.HearAsync(m => Devices(m) is { } devices && devices.All(d => d.Fault.Length == 0) ? m : null);
        await fixture.StartAttemptAsync("health-load", "progress", ranks: 1);
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("health-load")).OutcomeCase);
    }

    [TestMethod]
    public async Task Attempt_OnARankThatCannotLoad_FailsWithItsLastWords()
    {
        await using var fixture = await CreateBrokenAsync();
        fixture.StartAgent(slots: 1);
        await fixture.Coordinator.HearAsync(m => m.Hello);
        await fixture.StartAttemptAsync("health-words", "progress", ranks: 1);

        var failure = (await fixture.EndOfAsync("health-words")).Failure;
        Assert.AreEqual(FailureKind.Crashed, failure.Kind);
        StringAssert.Contains(failure.Message, "Unable to load libtorch_cpu.so");
    }

    [TestMethod]
    public async Task Rank_Stopped_IsNoticedKilledAndReplaced()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        fixture.PingInterval = TimeSpan.FromSeconds(0.4);
        fixture.StartAgent(slots: 1);
        await fixture.Coordinator.HearAsync(m => m.Hello);
        await fixture.StartAttemptAsync("health-stop", "wait", ranks: 1);
        await fixture.StartedAsync("health-stop");
        await Processes.StopAsync(fixture.RankProcesses().Single());

        var failure = (await fixture.EndOfAsync("health-stop")).Failure;
        Assert.AreEqual(FailureKind.Crashed, failure.Kind);
        StringAssert.Contains(failure.Message, "Rank 0 on \"testhost\" did not answer for 2 s and was killed");
        await fixture.StartAttemptAsync("health-next", "progress", ranks: 1);
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("health-next")).OutcomeCase);
    }

    [TestMethod]
    [DataRow("r.sock")]
    [DataRow("attempts")]
    [DataRow("datasets")]
    [DataRow("")]
    public async Task WorkFolder_ThatACleanerRemoved_IsMadeAgain(string removed)
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("clean-1", "progress", ranks: 1);
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("clean-1")).OutcomeCase);
        var path = Path.Combine(fixture.WorkFolder, removed);
        if (File.Exists(path))
            File.Delete(path);
        else
            Directory.Delete(path, recursive: true);

        await fixture.StartAttemptAsync("clean-2", "exit", ranks: 1); // on the rank that is warm
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Failure, (await fixture.EndOfAsync("clean-2")).OutcomeCase);
        await fixture.StartAttemptAsync("clean-3", "progress", ranks: 1); // on one that had to find the socket
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("clean-3")).OutcomeCase);
    }

    [TestMethod]
    public async Task RankProgram_Missing_EndsTheAgentWithItsName()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        var options = new AgentOptions
        {
            Coordinator = fixture.Coordinator.Address,
            WorkFolder = fixture.WorkFolder,
            Slots = 1,
            Device = DeviceKind.Cpu,
            RankCommandLine = new RankCommandLine("/no/such/program", []),
        };

        var error = await Assert.ThrowsExactlyAsync<AgentException>(() => AgentHost.RunAsync(options, CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(10)));

        StringAssert.Contains(error.Message, "\"/no/such/program\"");
    }

    private static IEnumerable<Device>? Devices(WorkerMessage message) => message.Heartbeat?.Devices ?? message.Hello?.Devices;

    private static async Task<AgentFixture> CreateBrokenAsync()
    {
        var fixture = await AgentFixture.CreateAsync();
        Directory.CreateDirectory(fixture.WorkFolder);
        await File.WriteAllTextAsync(BrokenFile(fixture), "");
        return fixture;
    }

    private static string BrokenFile(AgentFixture fixture) => Path.Combine(fixture.WorkFolder, ScriptedTraining.BrokenFile);
}
