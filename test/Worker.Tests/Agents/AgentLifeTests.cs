using System.Diagnostics;
using System.Globalization;
using MLDistributed.Protocol;
using MLDistributed.Worker;
using Worker.Tests.Fakes;

namespace Worker.Tests.Agents;

[TestClass]
public sealed class AgentLifeTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    [TestMethod]
    public async Task Agent_Killed_RanksLeaveEvenFromNativeCode()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["agent", fixture.Coordinator.Address.ToString(), fixture.WorkFolder, 2.ToString(CultureInfo.InvariantCulture)]);
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        using var agent = Process.Start(start)!;
        await fixture.Coordinator.HearAsync(m => m.Hello);
        await fixture.StartAttemptAsync("q1", "hang | wait");
        await fixture.StartedAsync("q1");
        var ranks = fixture.RankProcesses();
        Assert.HasCount(2, ranks);
        agent.Kill();

        await Processes.UntilAsync(() => fixture.RankProcesses().Count == 0, TimeSpan.FromSeconds(5), "ranks outlive their agent");
        Assert.IsFalse(File.Exists("/dev/shm/mldist-q1"), "the segment is left");
        foreach (var rank in ranks)
            Assert.IsEmpty(Directory.GetFiles(Path.GetTempPath(), $"*-{rank}-*"), "the runtime's files of a killed rank are left in the temp folder");

        // The next agent on the folder clears what the killed one left.
        Assert.IsNotEmpty(Directory.GetDirectories(Path.Combine(fixture.WorkFolder, "attempts")));
        fixture.StartAgent();
        await fixture.Coordinator.HearAsync(m => m.Hello);
        Assert.IsEmpty(Directory.GetDirectories(Path.Combine(fixture.WorkFolder, "attempts")));
    }

    [TestMethod]
    public async Task Agent_Leaves_ReportsAttemptsAndLeavesNothing()
    {
        await using var fixture = await AgentFixture.StartAsync();
        await fixture.StartAttemptAsync("r1", "hang");
        await fixture.StartedAsync("r1");
        await fixture.StopAgentAsync();

        var first = await fixture.Coordinator.HearAsync(m => m.AttemptEnded is not null || m.Heartbeat?.Devices.All(d => d.Fault == "its worker leaves") == true ? m : null);
        Assert.IsNotNull(first.Heartbeat, "The next attempt would be placed on a worker that leaves.");
        Assert.AreEqual(FailureKind.WorkerLost, (await fixture.EndOfAsync("r1")).Failure.Kind);
        Assert.IsEmpty(fixture.RankProcesses());
        Assert.IsFalse(File.Exists("/dev/shm/mldist-r1"));
        Assert.IsFalse(File.Exists(Path.Combine(fixture.WorkFolder, "r.sock")));
    }

    [TestMethod]
    public async Task Agent_LeavesWithGrace_StoresCheckpointsFirstAndTakesNoMore()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        fixture.LeaveGrace = TimeSpan.FromMinutes(1);
        fixture.StartAgent();
        await fixture.Coordinator.HearAsync(m => m.Hello);
        await fixture.StartAttemptAsync("g1", "obey wait | wait");
        await fixture.StartedAsync("g1");
        await fixture.StopAgentAsync();

        // In this order: no more jobs, the checkpoint, the end.
        Assert.IsNotNull((await fixture.Coordinator.HearAsync(m => m.CheckpointSaved is not null || m.Heartbeat?.Devices.All(d => d.Fault == "its worker leaves") == true ? m : null)).Heartbeat);
        var saved = await fixture.Coordinator.HearAsync(m => m.CheckpointSaved is not null || m.AttemptEnded is not null ? m : null);
        Assert.AreEqual(10, saved.CheckpointSaved?.Step);
        Assert.AreEqual(FailureKind.WorkerLost, (await fixture.EndOfAsync("g1")).Failure.Kind);
    }

    [TestMethod]
    public async Task Rank_ToldToTerminateWithItsAgent_StaysUntilTheAgentLeaves()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("g3", "obey wait", ranks: 1);
        await fixture.StartedAsync("g3");

        using (var kill = Process.Start("kill", ["-TERM", fixture.RankProcesses()[0].ToString(CultureInfo.InvariantCulture)]))
            await kill.WaitForExitAsync();

        fixture.StopAttempt("g3");
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Stopped, (await fixture.EndOfAsync("g3")).OutcomeCase, "The signal ended the rank.");
    }

    [TestMethod]
    public async Task Agent_LeavesWithGraceThatIsOver_LeavesWithoutTheCheckpoint()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        fixture.LeaveGrace = TimeSpan.FromMilliseconds(100);
        fixture.StartAgent();
        await fixture.Coordinator.HearAsync(m => m.Hello);
        await fixture.StartAttemptAsync("g2", "hang");
        await fixture.StartedAsync("g2");
        await fixture.StopAgentAsync();

        Assert.AreEqual(FailureKind.WorkerLost, (await fixture.EndOfAsync("g2")).Failure.Kind);
    }

    [TestMethod]
    public async Task Rank_DiesOutsideAnAttempt_IsReplaced()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("s1", "progress", ranks: 1);
        await fixture.EndOfAsync("s1");
        var old = fixture.RankProcesses().Single();
        Processes.Kill(old);

        await Processes.UntilAsync(() => fixture.RankProcesses() is [var id] && id != old, Patience, "the process is not replaced");
    }

    [TestMethod]
    public async Task WorkFolder_UsedByAnotherAgent_IsRefused()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        var second = new AgentOptions { Coordinator = fixture.Coordinator.Address, WorkFolder = fixture.WorkFolder, Slots = 1, Device = DeviceKind.Cpu };
        var exception = await Assert.ThrowsExactlyAsync<AgentException>(() => AgentHost.RunAsync(second, CancellationToken.None));
        StringAssert.Contains(exception.Message, "no other worker uses");
    }

    [TestMethod]
    public async Task Options_Wrong_AreRefused()
    {
        var ftp = new AgentOptions { Coordinator = new Uri("ftp://x") };
        StringAssert.Contains((await Assert.ThrowsExactlyAsync<AgentException>(() => AgentHost.RunAsync(ftp, CancellationToken.None))).Message, "\"ftp://x/\"");
        var none = new AgentOptions { Coordinator = new Uri("http://x"), Slots = 0 };
        StringAssert.Contains((await Assert.ThrowsExactlyAsync<AgentException>(() => AgentHost.RunAsync(none, CancellationToken.None))).Message, "at least 1");
        var nowhere = new AgentOptions { Coordinator = new Uri("http://x"), NetworkPorts = "7300-7399" };
        StringAssert.Contains((await Assert.ThrowsExactlyAsync<AgentException>(() => AgentHost.RunAsync(nowhere, CancellationToken.None))).Message, "\"7300-7399\" and no network is named");
    }
}
