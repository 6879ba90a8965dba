using Grpc.Core;
using MLDistributed.Protocol;
using MLDistributed.Worker;
using Worker.Tests.Fakes;

namespace Worker.Tests.Connections;

[TestClass]
public sealed class CoordinatorLinkTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    [TestMethod]
    public async Task Coordinator_AwayMeanwhile_HearsOfTheEndLater()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("j1", "wait", ranks: 1);
        await fixture.StartedAsync("j1");
        await fixture.Coordinator.DownAsync();
        // Training goes on; here its process dies, and nobody is there to hear of it.
        Processes.Kill(fixture.RankProcesses().Single());
        await fixture.Coordinator.UpAsync();

        var hello = await fixture.Coordinator.HearAsync(m => m.Hello);
        CollectionAssert.Contains(hello.RunningAttempts, "j1");
        var ended = await fixture.EndOfAsync("j1");
        Assert.AreEqual(137, ended.Failure.ExitCode);
    }

    [TestMethod]
    public async Task Coordinator_BackWithAttemptRunning_MayStopIt()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("k1", "wait", ranks: 1);
        await fixture.StartedAsync("k1");
        var process = fixture.RankProcesses().Single();
        await fixture.Coordinator.DownAsync();
        await fixture.Coordinator.UpAsync();
        var hello = await fixture.Coordinator.HearAsync(m => m.Hello);
        CollectionAssert.AreEqual(new[] { "k1" }, hello.RunningAttempts);
        Assert.AreEqual(process, fixture.RankProcesses().Single(), "the rank did not outlive the coordinator");

        // To the new session: heartbeats carry its epoch.
        await fixture.Coordinator.HearAsync(m => m.Heartbeat is not null && m.SessionEpoch == 2 ? m : null);
        fixture.StopAttempt("k1");
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Stopped, (await fixture.EndOfAsync("k1")).OutcomeCase);
    }

    [TestMethod]
    public async Task Coordinator_StartsLater_IsFound()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        await fixture.Coordinator.DownAsync();
        fixture.StartAgent(slots: 1);
        await Processes.UntilAsync(() => fixture.RankProcesses().Count == 1, Patience, "the agent does not start its ranks without the coordinator");
        await fixture.Coordinator.UpAsync();
        var hello = await fixture.Coordinator.HearAsync(m => m.Hello);

        Assert.AreEqual("testhost", hello.Host);
        Assert.AreNotEqual("", hello.WorkerId);
        Assert.AreEqual(DeviceKind.Cpu, hello.Devices.Single().Kind);
    }

    [TestMethod]
    [DataRow(StatusCode.Unauthenticated, "credential revoked", "expected a valid token or credential")]
    [DataRow(StatusCode.FailedPrecondition, "speaks protocol 1, this coordinator 2", "Use the same version")]
    public async Task Connect_Refused_EndsTheAgentWithTheReason(StatusCode code, string detail, string expected)
    {
        await using var fixture = await AgentFixture.CreateAsync();
        fixture.Coordinator.Refusal = new Status(code, detail);
        fixture.StartAgent(slots: 1);
        var exception = await Assert.ThrowsExactlyAsync<AgentException>(() => fixture.Agent.WaitAsync(Patience));

        StringAssert.Contains(exception.Message, detail);
        StringAssert.Contains(exception.Message, expected);
    }

    [TestMethod]
    public async Task Connect_OverNetworkWithoutTokenOrCredential_IsRefusedAtOnce()
    {
        using var folder = RunDirectory.Create();
        var options = new AgentOptions { Coordinator = new Uri("http://127.0.0.1:1"), WorkFolder = Path.Combine(folder.Path, "w"), Slots = 1, Device = DeviceKind.Cpu };
        var exception = await Assert.ThrowsExactlyAsync<AgentException>(() => AgentHost.RunAsync(options, CancellationToken.None).WaitAsync(Patience));
        StringAssert.Contains(exception.Message, "mldist tokens create");
    }

    [TestMethod]
    public async Task Join_WithToken_KeepsTheCredentialToItself()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        fixture.StartAgent(slots: 1, token: "t1");
        Assert.AreEqual("w1", (await fixture.Coordinator.HearAsync(m => m.Hello)).WorkerId);

        var path = Path.Combine(fixture.WorkFolder, "credential.json");
        StringAssert.Contains(await File.ReadAllTextAsync(path), "first");
        if (!OperatingSystem.IsWindows())
            Assert.AreEqual(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        CollectionAssert.AreEqual(new[] { "t1" }, fixture.Coordinator.Joins);
    }

    [TestMethod]
    public async Task Join_CredentialRefused_UsesTheTokenOnce()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        Directory.CreateDirectory(fixture.WorkFolder);
        await File.WriteAllTextAsync(Path.Combine(fixture.WorkFolder, "credential.json"), """{"WorkerId":"w0","Credential":"of-another-coordinator"}""");
        fixture.StartAgent(slots: 1, token: "t2");

        Assert.AreEqual("w1", (await fixture.Coordinator.HearAsync(m => m.Hello)).WorkerId);
        CollectionAssert.AreEqual(new[] { "t2" }, fixture.Coordinator.Joins);
    }

    [TestMethod]
    public async Task Join_CredentialAndTokenRefused_TellsBothReasons()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        Directory.CreateDirectory(fixture.WorkFolder);
        await File.WriteAllTextAsync(Path.Combine(fixture.WorkFolder, "credential.json"), """{"WorkerId":"w0","Credential":"revoked"}""");
        fixture.Coordinator.JoinRefusal = new Status(StatusCode.Unauthenticated, "The join token was used already");
        fixture.StartAgent(slots: 1, token: "t3");

        var exception = await Assert.ThrowsExactlyAsync<AgentException>(() => fixture.Agent.WaitAsync(Patience));

        StringAssert.Contains(exception.Message, "refuses this worker (not this credential; The join token was used already), expected");
    }
}
