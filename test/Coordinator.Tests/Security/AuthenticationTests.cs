using Grpc.Core.Interceptors;
using Grpc.Health.V1;
using Grpc.Net.Client;
using MLDistributed.Coordinator.Security;

namespace MLDistributed.Coordinator.Tests.Security;

[TestClass]
public sealed class AuthenticationTests
{
    private static readonly string[] Loopback = ["http://127.0.0.1:0"];

    [TestMethod]
    public async Task Call_WithoutKey_IsUnauthenticated()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);

        var error = await Jobs(coordinator, null).GetClusterAsync(new GetClusterRequest()).Fails(StatusCode.Unauthenticated);

        StringAssert.Contains(error.Status.Detail, "carries no API key");
    }

    [TestMethod]
    public async Task Call_WithAWrongKey_IsUnauthenticated()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);

        var error = await Jobs(coordinator, "mlk_wrong").GetClusterAsync(new GetClusterRequest()).Fails(StatusCode.Unauthenticated);

        StringAssert.Contains(error.Status.Detail, "unknown to this coordinator or was revoked");
    }

    [TestMethod]
    public async Task Call_OfAnotherProtocol_IsAFailedPrecondition()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        using var channel = GrpcChannel.ForAddress(coordinator.Address);
        var client = new Protocol.Jobs.JobsClient(channel.Intercept(m =>
        {
            m.Add(ProtocolVersion.Header, $"{ProtocolVersion.Current + 1}");
            return m;
        }));

        var error = await client.GetClusterAsync(new GetClusterRequest()).Fails(StatusCode.FailedPrecondition);

        Assert.AreEqual($"Client speaks protocol {ProtocolVersion.Current + 1}, this coordinator {ProtocolVersion.Current}. Use the same release on both.", error.Status.Detail);
    }

    [TestMethod]
    public async Task Key_Revoked_IsRefusedAtOnce()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "ci", "team", Scopes.Read);
        var client = Jobs(coordinator, key);
        await client.GetClusterAsync(new GetClusterRequest()).Within();

        Assert.IsTrue(CoordinatorAdministration.RevokeKey(coordinator.DataFolder, CoordinatorAdministration.ListKeys(coordinator.DataFolder).Single().Id));

        await client.GetClusterAsync(new GetClusterRequest()).Fails(StatusCode.Unauthenticated);
        Assert.IsNotNull(CoordinatorAdministration.ListKeys(coordinator.DataFolder).Single().Revoked);
    }

    [TestMethod]
    public async Task ReadKey_Submitting_IsDenied()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "viewer", "team", Scopes.Read);

        var error = await Jobs(coordinator, key).SubmitJobAsync(new SubmitJobRequest { Spec = Specs.Valid() }).Fails(StatusCode.PermissionDenied);

        StringAssert.Contains(error.Status.Detail, "Key \"viewer\" has scope read, expected submit or admin");
    }

    [TestMethod]
    public async Task Worker_WithAJoinToken_JoinsOnceAndMayConnect()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var token = CoordinatorAdministration.CreateJoinToken(coordinator.DataFolder);
        var joining = new Protocol.Workers.WorkersClient(coordinator.ConnectByKey(null).Invoker);

        var joined = await joining.JoinAsync(new JoinRequest { Token = token, Host = "gpu-1" }).Within();
        await joining.JoinAsync(new JoinRequest { Token = token, Host = "gpu-2" }).Fails(StatusCode.Unauthenticated);

        var credential = coordinator.ConnectByKey(joined.Credential).Invoker;
        using var worker = await FakeWorker.ConnectAsync(credential, joined.WorkerId, 1);
        Assert.AreEqual("", worker.Welcome.SharedStore, "A worker over the network cannot see the store.");
        await new Protocol.Jobs.JobsClient(credential).ListJobsAsync(new ListJobsRequest()).Fails(StatusCode.PermissionDenied);
        var imposter = await Assert.ThrowsExactlyAsync<RpcException>(() => FakeWorker.ConnectAsync(credential, "another", 1));
        Assert.AreEqual(StatusCode.PermissionDenied, imposter.StatusCode);
    }

    [TestMethod]
    public async Task JoinToken_ThatAdmitsNobody_SaysWhy()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var joining = new Protocol.Workers.WorkersClient(coordinator.ConnectByKey(null).Invoker);
        var used = coordinator.Get<KeyRing>().CreateJoinToken(TimeSpan.FromHours(1));
        var expired = coordinator.Get<KeyRing>().CreateJoinToken(TimeSpan.FromHours(1));
        await joining.JoinAsync(new JoinRequest { Token = used, Host = "a" }).Within();
        coordinator.Time.Leap(TimeSpan.FromHours(2));

        Assert.AreEqual("The join token was used already, at 2026-01-01 00:00:00Z, and each admits one worker", await Refusal(used));
        Assert.AreEqual("The join token expired at 2026-01-01 01:00:00Z", await Refusal(expired));
        Assert.AreEqual("The join token is unknown to this coordinator", await Refusal("mlj_other"));

        async Task<string> Refusal(string token) =>
            (await joining.JoinAsync(new JoinRequest { Token = token, Host = "b" }).Fails(StatusCode.Unauthenticated)).Status.Detail;
    }

    [TestMethod]
    public async Task Worker_Revoked_IsDisconnectedAndRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var joining = new Protocol.Workers.WorkersClient(coordinator.ConnectByKey(null).Invoker);
        var joined = await joining.JoinAsync(new JoinRequest { Token = CoordinatorAdministration.CreateJoinToken(coordinator.DataFolder), Host = "a" }).Within();
        var credential = coordinator.ConnectByKey(joined.Credential).Invoker;
        using var worker = await FakeWorker.ConnectAsync(credential, joined.WorkerId, 1);

        Assert.IsTrue(CoordinatorAdministration.RevokeWorker(coordinator.DataFolder, joined.WorkerId));
        var ended = worker.RefusedAsync(StatusCode.Unauthenticated);
        await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromSeconds(1), async () =>
        {
            await Task.WhenAny(ended, coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within());
            return ended.IsCompleted;
        }, over => over);

        StringAssert.Contains((await ended).Status.Detail, "was revoked");
        var again = await Assert.ThrowsExactlyAsync<RpcException>(() => FakeWorker.ConnectAsync(credential, joined.WorkerId, 1));
        Assert.AreEqual("The worker's credential is unknown to this coordinator or was revoked.", again.Status.Detail);
        Assert.IsFalse(CoordinatorAdministration.RevokeWorker(coordinator.DataFolder, joined.WorkerId));
    }

    [TestMethod]
    public async Task ApiKey_ConnectingAsWorker_IsDenied()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "root", "ops", Scopes.Admin | Scopes.Submit | Scopes.Read);

        var error = await Assert.ThrowsExactlyAsync<RpcException>(() => FakeWorker.ConnectAsync(coordinator.ConnectByKey(key).Invoker, "w1", 1));

        Assert.AreEqual(StatusCode.PermissionDenied, error.StatusCode);
    }

    [TestMethod]
    public async Task Health_WithoutKey_IsServing()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        using var channel = GrpcChannel.ForAddress(coordinator.Address);

        var reply = await new Health.HealthClient(channel).CheckAsync(new HealthCheckRequest()).Within();

        Assert.AreEqual(HealthCheckResponse.Types.ServingStatus.Serving, reply.Status);
        // Its stream would stay open as long as a stranger likes.
        using var watch = new Health.HealthClient(channel).Watch(new HealthCheckRequest());
        await watch.ResponseStream.MoveNext(CancellationToken.None).Fails(StatusCode.FailedPrecondition);
    }

    [TestMethod]
    public async Task Keys_InTheDatabase_AreHashes()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "ci", "team", Scopes.Submit);
        await coordinator.StopServerAsync();

        foreach (var file in Directory.EnumerateFiles(coordinator.DataFolder, "coordinator.db*"))
            Assert.DoesNotContain(key, await File.ReadAllTextAsync(file, System.Text.Encoding.Latin1));
    }

    [TestMethod]
    public void CreateKey_ForAWorker_IsRefused()
    {
        var error = Assert.ThrowsExactly<ArgumentException>(() => CoordinatorAdministration.CreateKey("unused", "x", "y", Scopes.Worker));

        StringAssert.Contains(error.Message, "expected one or more of Read, Submit, Admin and Metrics");
    }

    private static Protocol.Jobs.JobsClient Jobs(TestCoordinator coordinator, string? key) => new(coordinator.ConnectByKey(key).Invoker);
}
